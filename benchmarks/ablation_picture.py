"""The picture of docs/ablation.md: curves of the Frechet distance, and what each variant draws."""

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from benchmarks.ablation_judge import SHOWN, collapsed
from benchmarks.ablation_variants import VARIANTS
from benchmarks.records import Record

matplotlib.use("Agg")
GAP: Final = 1.0  # tiles between samples and reconstructions
STRIP: Final = 0.44  # inches high
PANELS: Final = (("lattice", "step"), ("lattice", "seconds"), ("controls", "step"),
                 ("knock-outs", "step"))  # fmt: skip


def draw(records: Sequence[Record], file: Path) -> None:
    """Curves of all seeds above, strips of the first seed below; what is missing is left out."""
    shown = [one for one in _in_order(records) if one["seed"] == records[0]["seed"]]
    below = STRIP * (len(shown) + 1)
    figure = Figure(figsize=(11, 7.4 + below), layout="constrained")
    parts = figure.subfigures(2, 1, squeeze=False, height_ratios=(7.4, below))
    curves, strips = parts.ravel()
    for axes, (group, over) in zip(curves.subplots(2, 2).ravel(), PANELS, strict=True):
        _curves(axes, records, group, over)
    strips.suptitle(
        f"{SHOWN} samples of the same codes, and {SHOWN // 2} held-out images each with G(E(x)) "
        "to its right", fontsize=9,
    )  # fmt: skip
    for axes, one in zip(strips.subplots(len(shown), 1, squeeze=False)[:, 0], shown, strict=True):
        _strip(axes, one)
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=110, metadata={"Software": None})


def _in_order(records: Sequence[Record]) -> list[Record]:
    names = list(VARIANTS)
    return sorted(records, key=lambda one: (names.index(one["variant"]), one["seed"]))


def _curves(axes: Axes, records: Sequence[Record], group: str, over: str) -> None:
    """A line per run of the group, and AEGAN's in each panel; crosses where it has collapsed."""
    told: set[str] = set()
    for one in _in_order(records):
        name = one["variant"]
        variant = VARIANTS[name]
        if name != "aegan" and variant.group != group:
            continue
        x = [figures[over] for figures in one["curve"]]
        y = [figures["frechet"] for figures in one["curve"]]
        lost = [bool(collapsed(figures)) for figures in one["curve"]]
        label = None if name in told else variant.title
        told.add(name)
        axes.plot(
            x, y, color=variant.colour, label=label, linewidth=2.2 if name == "aegan" else 1.3
        )
        for marker, kind in (("o", False), ("x", True)):
            places = np.flatnonzero(np.array(lost) == kind)
            axes.plot(np.array(x)[places], np.array(y)[places], marker, color=variant.colour,
                      markersize=6 if kind else 4)  # fmt: skip
    axes.set_yscale("log")
    unit = "updates of G" if over == "step" else "CPU seconds of training"
    axes.set_title(f"{group}: Frechet distance by {unit}", fontsize=9)
    axes.tick_params(labelsize=8)
    axes.grid(axis="y", color="#dddddd", linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8)


def _strip(axes: Axes, record: Record) -> None:
    row = np.asarray(Image.open(io.BytesIO(base64.b64decode(record["strip"]))))
    side = row.shape[0]
    whole = np.full((side, round((2 * SHOWN + GAP) * side)), 255, np.uint8)
    whole[:, : SHOWN * side] = row[:, : SHOWN * side]
    rest = row[:, SHOWN * side :]
    if rest.size:
        whole[:, -rest.shape[1] :] = rest
    axes.imshow(whole, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    axes.set_ylabel(VARIANTS[record["variant"]].title, rotation=0, ha="right", va="center",
                    fontsize=8)  # fmt: skip
    axes.set(xticks=(), yticks=())
    for spine in axes.spines.values():
        spine.set_visible(False)
