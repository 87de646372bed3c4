"""docs/modes.md and its picture, from the records of benchmarks/modes.py."""

import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.records import ROOT, Record
from models.datasets import toy

matplotlib.use("Agg")
DOCUMENT: Final = ROOT / "docs" / "modes.md"
PICTURE: Final = ROOT / "docs" / "images" / "modes.png"
CLAIMED: Final = 8000  # steps of the claim's cells; shorter ones are of the other tables
REMEDIES: Final = ("none", "pairwise", "pairwise squared")
TITLES: Final = {
    "ring": "Ring of 8, z one-dimensional",
    "grid": "Grid of 25, z two-dimensional",
    "double-ring": "Double ring of 16, z two-dimensional",
    "swiss-roll": "Swiss roll, 20 stretches, z one-dimensional",
    "heavy-centre": "Heavy centre: an empty scene and four rare objects, z of 8",
}
COLOURS: Final = {"none": "#7f7f7f", "pairwise": "#1f5fa8", "pairwise squared": "#6fb1e6"}

HEAD: Final = """\
# Modes

Written by `python -m benchmarks.modes --write` from `benchmarks/results/modes.jsonl`: which
modes of a known density a trained pair reaches, by objective and pairing, with and without the
pair-wise penalty; a cell that was not measured yet has no row. Figures are of the
averaged networks, those that are exported, on 10,000 samples a seed; no seed is left out.

```
python -m benchmarks.modes --only claim    # measures what is missing from its --run, cell by cell
python -m benchmarks.modes                 # all parts; --steps, --width, --batch, --seeds change it
python -m benchmarks.modes --write         # this page and its picture
```

Two rules, side by side: a mode counts *within 10 sigma* where it has at least 10 % of its fair
share of the samples within ten standard deviations, *within 3 sigma* where it has at least 1 % of
it within three. *ALI's* asks for one sample nearer to the mode than to any other, however far:
it calls collapsed models perfect, and stands here so that this can be seen. *Good* is the share of
all samples within 10 and 3 sigma of any mode, the mean of the seeds; *error* the median distance of
a real point to G(E(x)), their mean. Networks are those of `models/configs/ring.toml`, smaller and
on smaller batches, and steps fewer, to fit the time there was.

The short tables compare beginnings: 1,500 steps are few for 25 modes, 16 or a spiral, and so are
4,000; most samples still lie between the modes, and low counts there say that training has not
ended, not how it would. Of a game that was trained for several numbers of steps, those rows stand
here that have the most of them with and without the penalty. With the penalty `rwgan` is `wgan`,
for the penalty stands in place of the clipping that tells them apart: their rows are the same.
Where the penalty is not defined the reason stands below.
"""


def write(records: Sequence[Record]) -> None:
    """Write the page and the picture."""
    draw(records, PICTURE)
    DOCUMENT.write_text(document(records), encoding="utf-8")


def document(records: Sequence[Record]) -> str:
    """The text of docs/modes.md; tables of what the records hold, however little it is."""
    parts = [HEAD, "![modes captured](images/modes.png)\n", _whence(records)]
    claim = [one for one in records if one["steps"] >= CLAIMED and one["density"] == "ring"]
    if claim:
        parts.append("## The article's claim\n\n" + CLAIM + "\n" + _verdicts(claim))
        parts.append(_table(claim))
    short = longest(one for one in records if one["steps"] < CLAIMED or one["density"] != "ring")
    for density, title in TITLES.items():
        own = [one for one in short if one["density"] == density and one["pairing"] == "bigan"]
        if own:
            parts.append(f"## {title}\n\n{_table(own)}")
    own = [one for one in short if one["pairing"] != "bigan"]
    if own:
        parts.append(f"## Other pairings, on the ring\n\n{_table(own)}")
    return "\n".join(parts)


def longest(records: Iterable[Record]) -> list[Record]:
    """Of each game on each density the records of the most steps that all its remedies have.

    All of them where they have none in common; a remedy that is not defined counts for none.
    """
    games: dict[tuple[str, ...], list[Record]] = {}
    for one in records:
        games.setdefault((one["density"], one["pairing"], one["objective"]), []).append(one)
    kept = []
    for own in games.values():
        trained = [one for one in own if "refused" not in one]
        refused = {one["remedy"]: one for one in own if "refused" in one}
        remedies = {one["remedy"] for one in trained}
        every = [{one["steps"] for one in trained if one["remedy"] == name} for name in remedies]
        shared = set.intersection(*every) if every else set()
        most = max(shared, default=None)
        kept += [one for one in trained if most in (None, one["steps"])]
        kept += [one if most is None else {**one, "steps": most} for one in refused.values()]
    return kept


CLAIM: Final = """\
Sharma and Namboodiri 2018, arXiv:1802.00771: on eight narrow modes with a one-dimensional z a plain
BiGAN loses modes, and with the pair-wise penalty it captures them. `linear` is what their code
plays, `gan` what their text says; the penalty's norm is theirs, its square the other form in use.
"""


def _verdicts(claim: Sequence[Record]) -> str:
    """A line per objective: in how many seeds all modes are there, without and with."""
    said = []
    for name in dict.fromkeys(one["objective"] for one in claim):
        own = {one["remedy"]: one["within10"] for one in claim if one["objective"] == name}
        counts = {remedy: sum(found == 8 for found in seeds) for remedy, seeds in own.items()}
        words = ", ".join(f"{name} {count} of {len(own[name])}" for name, count in counts.items())
        said.append(
            f"- `{name}`, seeds with all eight modes within 10 sigma: {words}. {_holds(own)}"
        )
    return "\n".join(said) + "\n"


def _holds(own: dict[str, list[int]]) -> str:
    if "none" not in own or len(own) == 1:
        return "Not measured in full."
    plain = own["none"]
    verdicts = []
    for remedy in (name for name in REMEDIES[1:] if name in own):
        seeds = own[remedy]
        if min(seeds) == 8 and max(plain) < 8:
            verdict = "reproduced in every seed"
        elif min(seeds) == 8 and min(plain) < 8:
            verdict = "all modes in every seed, and some seeds need no penalty"
        elif statistics.mean(seeds) > statistics.mean(plain):
            verdict = "more modes than without it, not all"
        else:
            verdict = "not reproduced"
        verdicts.append(f"{remedy}: {verdict}")
    return f"Claim: {'; '.join(verdicts)}."


def _table(records: Sequence[Record]) -> str:
    """A row per cell, remedies of one objective together; then what is not defined."""
    heads = ("game", "remedy", "steps", "within 10 sigma", "within 3 sigma", "ALI's",
             "good: 10, 3 sigma", "error")  # fmt: skip
    names = list(dict.fromkeys((one["pairing"], one["objective"]) for one in records))
    ordered = sorted(
        records,
        key=lambda one: (
            names.index((one["pairing"], one["objective"])), REMEDIES.index(one["remedy"])
        ),
    )  # fmt: skip
    rows = [_row(one) for one in ordered]
    lines = [heads, ["---", "---", *["---:"] * 6], *rows]
    table = "".join(f"| {' | '.join(line)} |\n" for line in lines)
    refused: dict[str, list[str]] = {}
    for one in ordered:
        if "refused" in one:
            refused.setdefault(one["refused"], []).append(_game(one))
    notes = [f"- n/a: {', '.join(games)}: {why}" for why, games in refused.items()]
    notes += [f"- {_game(one)}, {one['remedy']}: {one['diverged']}; all figures are of where it "
              "stopped" for one in ordered if one.get("diverged")]  # fmt: skip
    return table + ("\n" + "\n".join(notes) + "\n" if notes else "")


def _game(record: Record) -> str:
    name, pairing = record["objective"], record["pairing"]
    return f"`{name}`" if pairing == "bigan" else f"`{pairing}` {name}"


def _row(record: Record) -> tuple[str, ...]:
    head = (_game(record), record["remedy"], f"{record['steps']:,}")
    if "refused" in record:
        return (*head, *["n/a"] * 5)
    seeds = (", ".join(map(str, record[key])) for key in ("within10", "within3", "touched"))
    good = ", ".join(f"{statistics.mean(record[key]):.2f}" for key in ("good10", "good3"))
    errors = [each for each in record["error"] if each is not None]
    error = f"{statistics.mean(errors):.3f}" if errors else "not finite"
    return (*head, *seeds, good, error)


def _whence(records: Sequence[Record]) -> str:
    how = records[-1]["how"]
    commits = ", ".join(sorted({one["commit"] for one in records}))
    device = records[-1]["device"].split(", onnxruntime")[0]
    minutes = sum(one.get("seconds", 0) for one in records) / 60
    return (
        f"{how['seeds']} seeds, {how['width']} units a layer, batches of {how['batch']}; rates "
        "of 2e-4 in 8,000 steps, of 1e-3 in fewer (began half of it); where papers make five steps "
        "of the critics to one of G and E, two. Commit "
        f"{commits}, on one of {device}, {minutes:.0f} minutes by the clock of a shared machine.\n"
    )


def draw(records: Sequence[Record], file: Path) -> None:
    """Samples of the claim's cells above, modes by objective below; what is missing is left out."""
    cells = {(one["objective"], one["remedy"]): one for one in records
             if one["steps"] >= CLAIMED and one.get("points")}  # fmt: skip
    bars = {density: _shown_as_bars(records, density) for density in ("ring", "grid")}
    bars = {density: own for density, own in bars.items() if own}
    rows = [height for height, there in ((5.0, cells), (4.6, bars)) if there] or [1.0]
    figure = Figure(figsize=(11, sum(rows)), layout="constrained")
    parts = iter(figure.subfigures(len(rows), 1, squeeze=False, height_ratios=rows).ravel())
    if cells:
        panels = next(parts).subplots(2, 3)
        for row, name in zip(panels, ("linear", "gan"), strict=True):
            for axes, remedy in zip(row, REMEDIES, strict=True):
                _scatter(axes, cells.get((name, remedy)), f"{name}, {remedy}")
    if bars:
        panels = next(parts).subplots(1, len(bars), squeeze=False)[0]
        for axes, (density, own) in zip(panels, bars.items(), strict=True):
            _bars(axes, own, density)
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=110, metadata={"Software": None})


def _shown_as_bars(records: Sequence[Record], density: str) -> list[Record]:
    short = longest(one for one in records if one["steps"] < CLAIMED)
    return [one for one in short if one["density"] == density and one["pairing"] == "bigan"
            and "refused" not in one]  # fmt: skip


def _scatter(axes: Axes, record: Record | None, title: str) -> None:
    places = toy.find("ring").places
    axes.plot(*places.T, "o", color="#d1495b", markersize=9, fillstyle="none")
    if record:
        points = np.array(record["points"])
        axes.plot(*points.T, ".", color="#1f5fa8", markersize=2.5)
        title += f": modes {', '.join(map(str, record['within10']))}"
    else:
        title += ": not measured"
    axes.set(xlim=(-1.6, 1.6), ylim=(-1.6, 1.6), aspect="equal", xticks=(), yticks=())
    axes.set_title(title, fontsize=9)


def _bars(axes: Axes, records: Sequence[Record], density: str) -> None:
    """The mean number of modes within 10 sigma, with the least and the most of the seeds."""
    names = list(dict.fromkeys(one["objective"] for one in records))
    for offset, remedy in ((-0.2, "none"), (0.2, "pairwise")):
        own: dict[str, Any] = {one["objective"]: one["within10"] for one in records
                               if one["remedy"] == remedy}  # fmt: skip
        there = [name for name in names if name in own]
        means = [statistics.mean(own[name]) for name in there]
        lows = [mean - min(own[name]) for name, mean in zip(there, means, strict=True)]
        highs = [max(own[name]) - mean for name, mean in zip(there, means, strict=True)]
        axes.barh([names.index(name) + offset for name in there], means, 0.38, xerr=[lows, highs],
                  color=COLOURS[remedy], label=remedy, error_kw={"linewidth": 0.8})  # fmt: skip
    steps = {one["objective"]: one["steps"] for one in records}
    longest_of_all = max(steps.values())
    labels = [
        name if steps[name] == longest_of_all else f"{name} ({steps[name]:,} steps)"
        for name in names
    ]
    axes.set_yticks(range(len(names)), labels, fontsize=8)
    axes.invert_yaxis()
    most = len(np.unique(toy.find(density).modes))
    axes.set_xlim(0, most)
    axes.set_title(
        f"{density}, {longest_of_all:,} steps: modes within 10 sigma of {most}, least to most",
        fontsize=9,
    )
    axes.legend(frameon=False, fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
