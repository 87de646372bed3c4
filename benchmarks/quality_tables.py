"""The quality benchmark's records as tables, and docs/quality.md."""

from collections.abc import Iterable, Iterator, Sequence
from statistics import mean, stdev
from typing import Final

from benchmarks import inspection_tables, quality_compared, quality_neighbours
from benchmarks.records import ROOT, Record, whence

DOCUMENT: Final = ROOT / "docs" / "quality.md"
CLASS: Final = "class "  # begins the parts in which each class in turn is normal
CHOSEN: Final = "pair chosen on validation"
COLUMNS: Final = {
    "F1": "f1", "F1 at 5 %": "f1_calibrated", "P at 5 %": "precision_calibrated",
    "R at 5 %": "recall_calibrated", "flagged normal": "fpr_calibrated", "AUROC": "auroc",
    "AP": "average_precision",
}  # fmt: skip
HEAD: Final = """\
# Quality

Written by `python -m benchmarks.quality --write` from `quality.jsonl` and `inspection.jsonl` in
`benchmarks/results`; a set or method without records has no row. Each pair was trained, exported
with its critic, calibrated, and asked as a bundle, on the CPU. All are read the same way:

- **Train** on normal items alone: no contamination. Columns, scaling, principal components, trees
  and neighbours are those of the training part.
- **Choose** on a validation part: a fifth of the normal items of the training side, and abnormal
  items of that side, which nothing is trained on. The score of each method is the one with the
  highest AUROC there, and *pair chosen on validation* is the pairing that is.
- **Test** once. *F1* has the threshold of the papers, which know how many test items are abnormal
  and flag as many, so that precision and recall are F1 as well but for equal scores at the
  threshold; *F1*, *P* and *R at 5 %* have the one that flags 5 % of the normal validation items,
  which nobody needs labels of the test for, and *flagged normal* is what it flags of the test's.
  *AP* is average precision.
- **Baselines** see what the pairs see: PCA with as many components as the pair has latents, of
  images also twice as many, and the same aggregators l1, l2 and, of images, l2s and ssim; an
  isolation forest of scikit-learn's defaults; the distance to the nearest of 10,000 normal items.
- **Means** are over the parts, ± the standard deviation over them: ten divisions of one table, or
  ten classes, each in turn the normal one. Each part was trained once, from seed 0.

AEGAN against its parts is in [ablation.md](ablation.md).

KDDCup99 (10 %): attacks are what is normal, as DAGMM, EGBAD and ALAD have it; half of the rows,
drawn by a seed, are the test. 72 % of the test rows stand in the other half too: the second table
has each row once that does not. One choice was not made on validation: that KDD's scaling is
`range`, not `standard`, was seen on this very test, with pairs of 800 steps. The papers
report F1 .9372 (EGBAD, arXiv:1802.06222) and .9501
(ALAD, arXiv:1812.02288) with duplicates in. To be held against those is the first table; the
second has other shares of normal and abnormal rows, and is what a model does with rows that it
never saw.

Arrhythmia: classes 3, 4, 5, 7, 8, 9, 14 and 15 are abnormal, the five columns with gaps are left
out, ten random halves; ALAD reports F1 .5152 for one, with abnormal rows in training.

MNIST and Fashion-MNIST: one class is normal, padded to 32x32, the test sets as published. The
pair's network, latents and error (`models/configs/one-class.toml`) were chosen on the validation
parts of MNIST 2 and 8 and Fashion-MNIST 0 and 6, and kept for all classes; which of its scores
counts is chosen class by class. On validation, MNIST 2, convolutions (`dcgan`, 600 steps) reached
an AUROC by l2s of .859, PCA .951 and one hidden layer .957; on MNIST 8 the absolute error reached
.878, the squared one .914, and that with 32 latents in place of 16 .876.
"""
SAME: Final = """\
Above, each side has the score that validation preferred for it. Here both have the same: means over
the parts, PCA with the number of components that validation prefers for that score. Nothing is
chosen by these figures. Where not all parts are there, records hold only the score that validation
chose for the pair, and these are the parts where it chose this one.
"""


def tables(records: Sequence[Record]) -> str:
    """All there is, for a terminal."""
    titled = list(_all(_compared(records)))
    titled += [(one["set"], quality_neighbours.table(one)) for one in _others(records)]
    return "\n\n".join("\n".join([title, *(_aligned(lines))]) for title, lines in titled)


def document(records: Sequence[Record], tiles: Sequence[Record]) -> str:
    """The text of docs/quality.md; `tiles` are those of benchmarks.inspection."""
    compared = _compared(records)
    targets = [*quality_compared.targets(compared), *inspection_tables.target(tiles)]
    parts = [HEAD, "## Targets\n\n" + _listed(targets)]
    parts += [f"## {title}\n\n{_markdown(lines)}" for title, lines in _all(compared)]
    parts.append("## Pairs against PCA and 1-NN\n\n" + _listed(quality_compared.against(compared)))
    same = quality_compared.same_aggregator(compared)
    if len(same) > 1:
        parts.append(f"## The same aggregator\n\n{SAME}\n{_markdown(same)}")
    if tiles:
        parts.append(f"## Magnetic tiles\n\n{inspection_tables.section(tiles)}")
    parts += quality_neighbours.section(_others(records))
    records = [*records, *tiles]
    dates = ", ".join(sorted({str(record["date"]) for record in records}))
    devices = ", ".join(sorted({str(record["device"]) for record in records}))
    parts.append(f"{whence(records).capitalize()}, {dates}, on {devices}.\n")
    return "\n".join(parts)


def _compared(records: Sequence[Record]) -> list[Record]:
    """The records of methods that tell normal from abnormal."""
    return [record for record in records if record["set"] != quality_neighbours.NAME]


def _others(records: Sequence[Record]) -> list[Record]:
    return [record for record in records if record["set"] == quality_neighbours.NAME]


def _listed(sentences: Iterable[str]) -> str:
    return "".join(f"- {one}\n" for one in sentences)


def _markdown(lines: Sequence[Sequence[str]]) -> str:
    head, *rows = lines
    rule = ["---", *(["---:"] * (len(head) - 1))]
    return "".join(f"| {' | '.join(line)} |\n" for line in (head, rule, *rows))


def _all(records: Sequence[Record]) -> Iterator[tuple[str, list[list[str]]]]:
    """A title and a table for each set, and for what of it occurs in no other part."""
    for name in dict.fromkeys(record["set"] for record in records):
        own = [record for record in records if record["set"] == name]
        parts = len({record["part"] for record in own})
        said = f"{name}, {parts} parts" if parts > 1 else f"{name}, {own[0]['part']}"
        yield said, _table(own, "test")
        if parts > 1 and own[0]["part"].startswith(CLASS):
            yield f"{name}: AUROC by what is normal", _by_class(own)
        if any("distinct" in record for record in own):
            yield f"{said}: distinct rows, none in the other half", _table(own, "distinct")


def _table(records: Sequence[Record], key: str) -> list[list[str]]:
    """A row for each method: means over the parts, and their standard deviation."""
    sizes = [round(mean(one[key][side] for one in records)) for side in ("normal", "abnormal")]
    size = f"{sizes[0]:,} normal, {sizes[1]:,} abnormal"
    lines = [[size, "score", *COLUMNS]]
    for method, found in _methods(records):
        counts = {term: 0 for term in dict.fromkeys(one["term"] for one in found)}
        for one in found:
            counts[one["term"]] += 1
        terms = ", ".join(sorted(counts, key=lambda term: -counts[term])[:2])
        every = len(_parts(records))
        name = method if len(found) == every else f"{method} ({len(found)} of {every})"
        told = [one[key] | _precision_and_recall(one[key]) for one in found]
        cells = [_cell([one[column] for one in told]) for column in COLUMNS.values()]
        lines.append([name, terms, *cells])
    return lines


def _precision_and_recall(told: Record) -> Record:
    """At the threshold of validation: what F1 and the share of normal items flagged come to."""
    wrong, f1 = told["fpr_calibrated"] * told["normal"], told["f1_calibrated"]
    right = f1 * (wrong + told["abnormal"]) / (2 - f1)
    flagged = right + wrong
    return {
        "precision_calibrated": right / flagged if flagged else 0.0,
        "recall_calibrated": right / told["abnormal"],
    }


def _by_class(records: Sequence[Record]) -> list[list[str]]:
    """A row for each method, a column for each class."""
    parts = _parts(records)
    lines = [["normal class", *(part.removeprefix(CLASS) for part in parts)]]
    for method, found in _methods(records):
        known = {one["part"]: f"{one['test']['auroc']:.3f}" for one in found}
        lines.append([method, *(known.get(part, "") for part in parts)])
    return lines


def _methods(records: Sequence[Record]) -> Iterator[tuple[str, list[Record]]]:
    """The records of each method, one a part, and of the pair that validation chose."""
    names = list(dict.fromkeys(record["method"] for record in records))
    for name in names:
        yield name, [record for record in records if record["method"] == name]
    pairs = [record for record in records if record["trained"]]
    if len({record["method"] for record in pairs}) > 1:
        yield (
            CHOSEN,
            [
                max(
                    (one for one in pairs if one["part"] == part),
                    key=lambda one: one["valid_auroc"],
                )
                for part in _parts(pairs)
            ],
        )


def _parts(records: Sequence[Record]) -> list[str]:
    return list(dict.fromkeys(record["part"] for record in records))


def _cell(values: Sequence[float]) -> str:
    said = f"{mean(values):.4f}"
    return said if len(values) == 1 else f"{mean(values):.3f} ± {stdev(values):.3f}"


def _aligned(lines: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for first, *rest in lines:
        cells = (f"{cell:>{width}}" for cell, width in zip(rest, widths[1:], strict=True))
        yield f"  {first:{widths[0]}}  {'  '.join(cells)}"
