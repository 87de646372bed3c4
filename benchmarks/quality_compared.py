"""What docs/quality.md says in words: targets, pairs against baselines, also by the same score."""

from collections.abc import Iterator, Mapping, Sequence
from statistics import mean
from typing import Any, Final, NamedTuple

from benchmarks.quality_methods import AGGREGATORS
from benchmarks.records import Record

BASELINES: Final = ("PCA", "1-NN")  # that pairs are held against, in words
FIGURES: Final = {"AUROC": "auroc", "F1": "f1"}


class Target(NamedTuple):
    """What a pair should reach, on the mean over all parts of a set."""

    set: str
    key: str  # of a record: "test" or "distinct"
    figure: str
    least: float


TARGETS: Final = (
    Target("MNIST", "test", "AUROC", 0.970),
    Target("Fashion-MNIST", "test", "AUROC", 0.930),
    Target("KDDCup99", "distinct", "F1", 0.960),
)


def targets(records: Sequence[Record]) -> Iterator[str]:
    """A sentence for each target of which there are records."""
    for target in TARGETS:
        key = FIGURES[target.figure]
        reached = {
            method: mean(one[target.key][key] for one in found)
            for method, found in _by_method(records, target.set).items()
            if all(target.key in one for one in found)
        }
        pairs = [name for name in reached if _is_trained(records, name)]
        if not pairs:
            continue
        best = max(pairs, key=lambda name: reached[name])
        rows = ", distinct rows" if target.key == "distinct" else ""
        word = "reached" if reached[best] >= target.least else "missed"
        others = [f"{name} {reached[name]:.4f}" for name in BASELINES if name in reached]
        above = [name for name in BASELINES if reached.get(name, 0.0) > reached[best]]
        beaten = f" **{' and '.join(above)} better than every pair.**" if above else ""
        yield (
            f"{target.set}{rows}, {target.figure} at least {target.least:.3f}: {word} by {best}, "
            f"{reached[best]:.4f}; {', '.join(others)}.{beaten}"
        )


def against(records: Sequence[Record]) -> Iterator[str]:
    """What each pair gains or loses against each baseline, over the parts both were measured on."""
    for name in dict.fromkeys(record["set"] for record in records):
        found = _by_method(records, name)
        for method, ours in found.items():
            if not _is_trained(records, method):
                continue
            for key, rows in (("test", ""), ("distinct", ", distinct rows")):
                for baseline in BASELINES:
                    pairs = [
                        (one[key], other[key])
                        for one, other in _both(ours, found.get(baseline, []))
                        if key in one and key in other
                    ]
                    if pairs:
                        said = (
                            f"{figure} {_compared(pairs, field, baseline)}"
                            for figure, field in FIGURES.items()
                        )
                        yield f"{name}{rows}, {method}: {'; '.join(said)}."


def same_aggregator(records: Sequence[Record]) -> list[list[str]]:
    """A row for each set, pair and aggregator that PCA has too."""
    lines = [["set, pair", "by", "parts", "AUROC", "PCA's", "better in", "F1", "PCA's"]]
    for name in dict.fromkeys(record["set"] for record in records):
        found = _by_method(records, name)
        for method, ours in found.items():
            if not _is_trained(records, method):
                continue
            for by in AGGREGATORS:
                pairs = [
                    (_by(one)[by], _by(other)[by])
                    for one, other in _both(ours, found.get("PCA", []))
                    if by in _by(one) and by in _by(other)
                ]
                if pairs:
                    lines.append([f"{name}, {method}", by, f"{len(pairs)} of {len(ours)}",
                                  *_cells(pairs)])  # fmt: skip
    return lines


def _cells(pairs: Sequence[tuple[Mapping[str, float], Mapping[str, float]]]) -> Iterator[str]:
    for figure in FIGURES.values():
        ours, theirs = (mean(each[figure] for each in side) for side in zip(*pairs, strict=True))
        yield f"{ours:.4f}"
        yield f"{theirs:.4f}"
        if figure == "auroc":
            yield f"{sum(one[figure] > other[figure] for one, other in pairs)}"


def _by(record: Record) -> Mapping[str, Any]:
    """Figures by aggregator: of an older record by the one that validation chose, if it is one."""
    own: Mapping[str, Any] = record.get("by", {record["term"]: record["test"]})
    return own


def _by_method(records: Sequence[Record], name: str) -> dict[str, list[Record]]:
    own = [record for record in records if record["set"] == name]
    methods = dict.fromkeys(record["method"] for record in own)
    return {method: [one for one in own if one["method"] == method] for method in methods}


def _is_trained(records: Sequence[Record], method: str) -> bool:
    return any(record["trained"] for record in records if record["method"] == method)


def _both(ours: Sequence[Record], theirs: Sequence[Record]) -> Iterator[tuple[Record, Record]]:
    known = {record["part"]: record for record in theirs}
    return ((one, known[one["part"]]) for one in ours if one["part"] in known)


def _compared(
    pairs: Sequence[tuple[Mapping[str, float], Mapping[str, float]]], key: str, baseline: str
) -> str:
    ours, theirs = (round(mean(each[key] for each in side), 4) for side in zip(*pairs, strict=True))
    word = "better than" if ours > theirs else "worse than" if ours < theirs else "equal to"
    said = f"{ours:.4f}, {word} {baseline}'s {theirs:.4f}"
    better = sum(one[key] > other[key] for one, other in pairs)
    return said if len(pairs) == 1 else f"{said}, better in {better} of {len(pairs)}"
