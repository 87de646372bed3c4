"""Curves and histograms as SVG that stands inside an HTML page and takes its colours from it.

matplotlib draws with stand-in colours, which are then replaced by the page's CSS variables: the
same drawing is readable on a light and on a dark page.
"""

import re
from collections.abc import Mapping, Sequence
from io import StringIO
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from sklearn.metrics import precision_recall_curve, roc_curve

from export.detection import Scored
from export.sections import BASELINES
from models.metrics.auroc import auroc
from models.metrics.latent_match import ks_statistics

Floats = npt.NDArray[Any]

INK: Final = "#010203"  # text and axes
FAINT: Final = "#040506"  # grids, the prior
SERIES: Final = tuple(f"#1{i}1{i}1{i}" for i in range(7))  # lines
COLOURS: Final = {
    INK: "var(--ink)",
    FAINT: "var(--faint)",
    **{one: f"var(--series-{i})" for i, one in enumerate(SERIES)},
}
SHOWN_DIMENSIONS: Final = 12
BINS: Final = 40
TAIL: Final = 0.99  # the quantile that a histogram of scores reaches to
MOST_POINTS: Final = 400  # of a curve


def score_histogram(*, normal: Floats, abnormal: Floats | None, term: str) -> str:
    """Shares of images by score; what lies beyond the axis is in the last bin."""
    both = normal if abnormal is None else np.concatenate([normal, abnormal])
    edges = np.linspace(both.min(), max(np.quantile(both, TAIL), both.min() + 1e-12), BINS + 1)
    figure = _figure(7, 2.8)
    axes = figure.subplots()
    sides = [("normal", normal)] + ([] if abnormal is None else [("abnormal", abnormal)])
    for (name, scores), colour in zip(sides, SERIES, strict=False):
        counts = np.histogram(scores.clip(max=edges[-1]), edges)[0] / len(scores)
        axes.stairs(counts, edges, color=colour, linewidth=1.5, label=f"{name} ({len(scores):,})")
        axes.stairs(counts, edges, color=colour, fill=True, alpha=0.2)
    axes.set_xlabel(f"score {term}")
    axes.set_ylabel("share of images")
    axes.legend(frameon=False)
    return _svg(figure, axes, salt=f"scores {term}")


def roc_and_precision(scored: Scored) -> str:
    """The ROC curves and the precision-recall curves of the best terms and baselines."""
    figure = _figure(9, 4)
    left, right = figure.subplots(1, 2)
    areas = {
        name: auroc(normal=scored.normal[name], abnormal=scored.abnormal[name])
        for name in scored.names
    }
    for name, colour in zip(_best(areas), SERIES, strict=False):
        normal, abnormal = scored.normal[name], scored.abnormal[name]
        truth = np.repeat([0, 1], [len(normal), len(abnormal)])
        scores = np.concatenate([normal, abnormal])
        style = {"color": colour, "linestyle": "--" if name in BASELINES else "-"}
        false, true, _ = roc_curve(truth, scores)
        label = f"{BASELINES.get(name, name)}, {areas[name]:.3f}"
        left.plot(*_thinned(false, true), label=label, linewidth=1.4, **style)
        precision, recall, _ = precision_recall_curve(truth, scores)
        right.plot(*_thinned(recall, precision), linewidth=1.4, **style)
    left.plot([0, 1], [0, 1], color=FAINT, linewidth=1)
    share = len(abnormal) / (len(normal) + len(abnormal))
    right.axhline(share, color=FAINT, linewidth=1)
    left.set(xlabel="normal images flagged", ylabel="abnormal images found", title="ROC")
    right.set(xlabel="recall", ylabel="precision", title="precision and recall", ylim=(0, 1.02))
    left.legend(frameon=False, fontsize=8, loc="lower right")
    return _svg(figure, left, right, salt=scored.title)


def _best(areas: Mapping[str, float]) -> list[str]:
    """Those that tell best, as many as there are colours: terms, then a baseline of each sort."""
    ranked = sorted(areas, key=lambda name: areas[name], reverse=True)
    sorts = {name.partition("_")[0]: name for name in reversed(ranked) if name in BASELINES}
    baselines = sorted(sorts.values(), key=ranked.index)
    terms = [name for name in ranked if name not in BASELINES][: len(SERIES) - len(baselines)]
    return [*terms, *baselines]


def latent_histograms(codes: Floats, *, prior: str) -> str:
    """Histograms of single dimensions of E(x) over the prior's density, the worst first."""
    ks = ks_statistics(codes, prior=prior)
    order = np.argsort(-ks)
    worst, best = order[: SHOWN_DIMENSIONS // 2], order[SHOWN_DIMENSIONS // 2 :]
    shown = [*worst, *best[-(SHOWN_DIMENSIONS - SHOWN_DIMENSIONS // 2) :]]
    reach = 4.0 if prior == "normal" else 1.2
    at = np.linspace(-reach, reach, 121)
    density = (
        np.exp(-np.square(at) / 2) / np.sqrt(2 * np.pi)
        if prior == "normal"
        else np.where(np.abs(at) < 1, 0.5, 0.0)
    )
    rows = -(-len(shown) // 4)
    figure = _figure(9, 1.7 * rows)
    every = figure.subplots(rows, 4, sharex=True, sharey=True, squeeze=False).ravel()
    for axes, dimension in zip(every, shown, strict=False):
        values = codes[:, dimension].clip(-reach, reach)
        axes.hist(
            values, bins=BINS, range=(-reach, reach), density=True, color=SERIES[0], alpha=0.6
        )
        axes.plot(at, density, color=INK, linewidth=1)
        axes.set_title(f"dimension {dimension}, KS {ks[dimension]:.3f}", fontsize=8)
    for axes in every[len(shown) :]:
        axes.set_visible(False)
    return _svg(figure, *every, salt="codes")


def _thinned(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """At most so many points, ends included: a curve of ten thousand is a megabyte."""
    rows = np.unique(np.linspace(0, len(x) - 1, MOST_POINTS).round().astype(np.int64))
    return x[rows], y[rows]


def _figure(width: float, height: float) -> Any:
    from matplotlib.figure import Figure  # half a second to import: only who draws waits

    return Figure(figsize=(width, height), layout="constrained")


def _svg(figure: Any, *every: Any, salt: str) -> str:
    """The drawing, without what belongs to a file of its own; the same bytes for the same data."""
    from matplotlib import rc_context

    for axes in every:
        _coloured(axes)
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": salt}):
        out = StringIO()
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None})
    text = out.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    for stand_in, colour in COLOURS.items():
        text = text.replace(stand_in, colour)
    return re.sub(r"'DejaVu Sans'[^;\"]*", "inherit", text)


def _coloured(axes: Any) -> None:
    for side, spine in axes.spines.items():
        spine.set_color(INK)
        spine.set_visible(side in ("left", "bottom"))
    axes.tick_params(colors=INK, labelsize=8)
    axes.grid(color=FAINT, alpha=0.35, linewidth=0.6)
    texts: Sequence[Any] = [axes.title, axes.xaxis.label, axes.yaxis.label]
    legend = axes.get_legend()
    if legend is not None:
        texts = [*texts, *legend.get_texts()]
    for each in texts:
        each.set_color(INK)
