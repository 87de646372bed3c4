"""The records of the magnetic tiles as tables, and their section of docs/quality.md."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from statistics import mean, stdev
from typing import Final

from benchmarks.records import Record

# what is measured on, and the part that its score is chosen on
CHOSEN_ON: Final = {"patches": "choose-patches", "test": "choose"}
PARTS: Final = (*CHOSEN_ON.values(), *CHOSEN_ON)
TITLES: Final = {"patches": "patches of 64x64", "test": "whole frames"}
LEAST: Final = 0.70  # of patches, the mean of kinds
FOREST: Final = "isolation forest"
Table = list[list[str]]
Reader = Callable[[Record, str | None], float]  # an AUROC: of a kind, or of all for None

HEAD: Final = """\
Magnetic tiles (Huang et al. 2018): frames of about 145x160 grey pixels, and patches of 64x64 of
them, cut into tiles of 32 at a stride of 16; each is as abnormal as its worst tile. Of frames 6
pixels at every border are left out, of 0, 6, 12 and 20 the best for PCA on the part to choose by:
there the part itself ends. The pair of
`models/configs/magnetic.toml`, trained on parts of normal frames, exported, calibrated and asked as
a bundle; PCA of as many components and the forest saw such parts, too. The score is chosen, for
frames and for patches, by its AUROC, the mean of kinds, on what training held out and on every
fourth defective tile, which are in neither test (`benchmarks/inspection_parts.py`). The tests had
been read before, when the terms `peak` and `blob` were made: they are not unseen.
`python -m benchmarks.inspection` measures.
"""


def tables(records: Sequence[Record]) -> str:
    """All there is, for a terminal."""
    return "\n\n".join(
        "\n".join([title, *("  ".join(line) for line in lines), *said])
        for title, lines, said in _sections(records)
    )


def section(records: Sequence[Record]) -> str:
    """The text for docs/quality.md; nothing where nothing was measured."""
    written = [HEAD] if records else []
    for title, (head, *rows), said in _sections(records):
        rule = ["---", *(["---:"] * (len(head) - 1))]
        body = "".join(f"| {' | '.join(line)} |\n" for line in (head, rule, *rows))
        written.append(f"### {title}\n\n{body}\n" + "".join(f"- {one}\n" for one in said))
    return "\n".join(written)


def target(records: Sequence[Record]) -> Iterator[str]:
    """Whether patches are told apart as well as they should be; nothing without figures."""
    for own, chosen_on in _sides(records, "patches"):
        ways = {(who, term): read for who, term, read in _ways(own[0])}
        term = _best(chosen_on, ways, "pair")
        reached = mean(_averages(own, ways["pair", term]))
        linear = {
            f"PCA by {name}": mean(_averages(own, ways["PCA", name]))
            for name in dict.fromkeys((term, _best(chosen_on, ways, "PCA")))
            if ("PCA", name) in ways
        }
        word = "reached" if reached >= LEAST else "missed"
        others = ", ".join(f"{name} {value:.4f}" for name, value in linear.items())
        above = " and ".join(name for name, value in linear.items() if value > reached)
        yield (
            f"Magnetic tiles, patches, AUROC as the mean of kinds at least {LEAST:.3f}: {word} by "
            f"aae by {term}, {reached:.4f}; {others}." + (f" **{above} better.**" if above else "")
        )


def _sides(
    records: Sequence[Record], part: str
) -> Iterator[tuple[Sequence[Record], Sequence[Record]]]:
    """The records of a part and of the one its score is chosen on, where both have all seeds."""
    own, chosen_on = (
        sorted((one for one in records if one["part"] == name), key=lambda one: one["seed"])
        for name in (part, CHOSEN_ON[part])
    )
    if own and [one["seed"] for one in own] == [one["seed"] for one in chosen_on]:
        yield own, chosen_on


def _sections(records: Sequence[Record]) -> Iterator[tuple[str, Table, list[str]]]:
    for part in CHOSEN_ON:
        for own, chosen_on in _sides(records, part):
            title = f"Magnetic tiles: {TITLES[part]}, {len(own)} seeds"
            yield title, _table(own, chosen_on), _said(own, chosen_on)


def _table(own: Sequence[Record], chosen_on: Sequence[Record]) -> Table:
    """AUROC by score: a row for each that PCA has as well, the chosen one, and the forest."""
    kinds = list(own[0]["kinds"])
    count = f"{own[0]['normal']:,} normal, {own[0]['abnormal']:,} abnormal"
    lines = [[count, "chosen by", *kinds, "mean of kinds", "all"]]
    for who, term, read in _ways(own[0]):
        each = [[read(one, kind) for one in own] for kind in kinds]
        cells = [_averages(chosen_on, read), *each, _averages(own, read)]
        cells.append([read(one, None) for one in own])
        lines.append([f"{who}, {term}" if term else who, *map(_cell, cells)])
    return lines


def _averages(records: Sequence[Record], read: Reader) -> list[float]:
    """The mean of its kinds for each record."""
    return [mean(read(one, kind) for kind in one["kinds"]) for one in records]


def _ways(record: Record) -> Iterator[tuple[str, str, Reader]]:
    """Who scores, by which term, and how an AUROC of his is read from a record."""
    for term in record["auroc"]:
        yield "pair", term, partial(_auroc, term)
        if (linear := f"pca_{term}") in record["pca"]["auroc"]:
            yield "PCA", term, partial(_auroc, linear)
    yield FOREST, "", _by_forest


def _auroc(name: str, record: Record, kind: str | None) -> float:
    if kind is not None:
        return float(record["kinds"][kind]["auroc"][name])
    side = record["pca"]["auroc"] if name.startswith("pca_") else record["auroc"]
    return float(side[name])


def _by_forest(record: Record, kind: str | None) -> float:
    found = record["forest"]
    return float(found["auroc"] if kind is None else found["kinds"][kind])


def _said(own: Sequence[Record], chosen_on: Sequence[Record]) -> list[str]:
    """In words: what was chosen and how it does beside PCA, pixels, and what is flagged."""
    ways = {(who, term): read for who, term, read in _ways(own[0])}

    def reached(who: str, term: str) -> list[float]:
        return _averages(own, ways[who, term])

    term, other = (_best(chosen_on, ways, side) for side in ("pair", "PCA"))
    ours = reached("pair", term)
    said = [f"Chosen, mean of kinds: the pair's `{term}`, {_cell(ours)}."]
    for name in dict.fromkeys((term, other)):
        if ("PCA", name) in ways:
            theirs = reached("PCA", name)
            word = "by the same" if name == term else f"by its choice, `{name}`,"
            beside = _compared(mean(ours), mean(theirs))
            said[0] += f" PCA {word} {_cell(theirs)}: the pair is {beside}."
    for key, name in (("pixel_auroc", "AUROC of pixels"), ("pro", "PRO")):
        if all(key in one for one in own):
            heat, linear = ([one[key][side] for one in own] for side in ("heat", "pca"))
            beside = _compared(mean(heat), mean(linear))
            said.append(f"{name}: {_cell(heat)}, PCA {_cell(linear)}: {beside}.")
    if all("flagged" in one and one["part"] == "test" for one in own):  # whole frames calibrated
        flagged = [one["flagged"] for one in own]
        shares = "; ".join(
            f"at {float(rate):.0%} {_cell([one['shares'][rate]['normal'] for one in flagged])} of "
            f"the normal and {_cell([one['shares'][rate]['abnormal'] for one in flagged])} of the "
            "abnormal"
            for rate in flagged[0]["shares"]
        )
        said.append(f"Flagged by `{flagged[0]['term']}`: {shares}.")
    return said


def _best(chosen_on: Sequence[Record], ways: Mapping[tuple[str, str], Reader], side: str) -> str:
    """The term that the part to choose by speaks for."""
    known = {
        term: mean(_averages(chosen_on, read)) for (who, term), read in ways.items() if who == side
    }
    return max(known, key=lambda term: known[term])


def _compared(ours: float, theirs: float) -> str:
    if f"{ours:.3f}" == f"{theirs:.3f}":
        return "as good as PCA"
    return "better than PCA" if ours > theirs else "worse than PCA"


def _cell(values: Sequence[float]) -> str:
    said = f"{mean(values):.3f}"
    return said if len(values) == 1 else f"{said} ± {stdev(values):.3f}"
