"""The figures of docs/benchmarks.md, drawn from records."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks import overload
from benchmarks.records import Record
from benchmarks.serve_http_tables import BARE, OURS, PEERS, Medians
from benchmarks.servers import DOUBLE
from serving.throughput import GRAPHS

matplotlib.use("Agg")
_DPI: Final = 130
_COLOURS: Final = {
    OURS: "#1f5fa8",
    BARE: "#6fb1e6",
    "LitServe": "#d1495b",
    "BentoML batchable": "#edae49",
    "MLServer": "#66a182",
    "Ray Serve": "#8d6a9f",
    "FastAPI def": "#7f7f7f",
    "FastAPI async": "#c0c0c0",
}
_SERIES: Final = (
    ("raw_images", "bare session at its best", "#7f7f7f", "o"),
    ("engine_images", "engine", "#6fb1e6", "s"),
    ("batcher_images", "engine behind the batcher", "#1f5fa8", "^"),
)


def draw_engine(records: Sequence[Record], file: Path) -> None:
    """Images per second by batch size, a panel for each graph."""
    names = [name for name in GRAPHS if any(one["graph"] == name for one in records)]
    figure = Figure(figsize=(10, 2.2 + 2.6 * ((len(names) + 1) // 2)), layout="constrained")
    panels = figure.subplots((len(names) + 1) // 2, 2, squeeze=False).ravel()
    for axes, name in zip(panels, names, strict=False):
        own = sorted((one for one in records if one["graph"] == name), key=lambda r: r["batch"])
        batches = [one["batch"] for one in own]
        for key, label, colour, marker in _SERIES:
            values = [one[key] for one in own]
            axes.plot(batches, values, marker=marker, color=colour, label=label)
        axes.set_xscale("log", base=2)
        axes.set_xticks(batches, [str(batch) for batch in batches])
        axes.set_ylim(bottom=0)
        _label(axes, name, "images in each call, or request", "images per second")
    for axes in panels[len(names) :]:
        axes.remove()
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
    _save(figure, file)


def draw_http(records: Sequence[Record], file: Path) -> None:
    """Requests per second and the p99 of one JPEG, bars in groups by connections."""
    medians = Medians(records)
    cells = medians.cells("jpeg")
    counts = sorted({count for _, count in cells})
    measured = {server.removesuffix(DOUBLE) for server, _ in cells}
    names = [name for name in (OURS, BARE, *PEERS) if name in measured]
    figure = Figure(figsize=(10, 7.5), layout="constrained")
    upper, lower = figure.subplots(2, 1)
    for axes, key, words in (
        (upper, "good_per_second", "answers per second"),
        (lower, "p99", "p99 latency, ms (logarithmic)"),
    ):
        width = 0.85 / len(names)
        for place, name in enumerate(names):
            settings = [_better(medians, name, count) for count in counts]
            values = [medians.of(setting, "jpeg", count, key) or 0.0
                      for setting, count in zip(settings, counts, strict=True)]  # fmt: skip
            where = [group + (place - (len(names) - 1) / 2) * width for group in range(len(counts))]
            axes.bar(where, values, width * 0.92, color=_COLOURS[name], label=name)
        axes.set_xticks(range(len(counts)), [str(count) for count in counts])
        _label(axes, "", "connections", words)
    lower.set_yscale("log")
    upper.set_title("one 32x32 JPEG to latents, each with one process or two, whichever gives more")
    figure.legend(*upper.get_legend_handles_labels(), loc="outside lower center", ncols=4)
    _save(figure, file)


def _better(medians: Medians, server: str, connections: int) -> str:
    """The name of its setting, one process or two, that gives more answers per second."""
    return max(
        (server, server + DOUBLE),
        key=lambda name: medians.of(name, "jpeg", connections, "good_per_second") or 0.0,
    )


def draw_overload(records: Sequence[Record], file: Path) -> None:
    """What became of the requests at each multiple of the capacity, a panel for each server."""
    found = overload.summaries(records)
    names = [name for name in overload.OURS if any(one["server"] == name for one in found)]
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    panels = figure.subplots(1, len(names), squeeze=False, sharey=True).ravel()
    for axes, name in zip(panels, names, strict=True):
        own = [one for one in found if one["server"] == name]
        _stack(axes, own)
        _label(axes, name, "offered, times the capacity", "share of the requests, %")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=5)
    _save(figure, file)


def _stack(axes: Axes, own: Sequence[dict[str, Any]]) -> None:
    """Bars of shares, and the 200s per second as a share of the best on top of them."""
    kinds = (
        ("200", "200", "#66a182"),
        ("429", "429: come back later", "#edae49"),
        ("504", "504: too late", "#d1495b"),
        ("other", "other", "#333333"),
    )
    places = range(len(own))
    below = [0.0] * len(own)
    for key, label, colour in kinds:
        totals = [sum(one["counts"][kind] for kind, *_ in kinds) or 1 for one in own]
        shares = [one["counts"][key] / total * 100 for one, total in zip(own, totals, strict=True)]
        axes.bar(places, shares, 0.6, bottom=below, color=colour, label=label)
        below = [a + b for a, b in zip(below, shares, strict=True)]
    line = [one["share"] * 100 for one in own]
    label = "200s per second, % of the best"
    axes.plot(places, line, "o-", color="black", label=label)
    axes.set_xticks(places, [f"{one['factor']:g}" for one in own])
    axes.set_ylim(0, 108)


def _label(axes: Axes, title: str, x: str, y: str) -> None:
    axes.set_title(title)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(axis="y", color="#dddddd", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _save(figure: Figure, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=_DPI, metadata={"Software": None})  # no version: the same, the same
