"""How well frames that are cut into tiles are told apart: whole frames, and pixels of them.

Each frame is as abnormal as its worst tile, by every term; PCA with as many numbers per tile is
fitted to random parts of the normal training frames, and asked in the same way.
"""

from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from export import frames
from export.subjects import Subject
from export.work import Work
from models.datasets.frames import Frames
from models.errors import DataError, UnknownName
from models.metrics import pca
from models.metrics.auroc import auroc
from models.metrics.localisation import LIMIT, per_region_overlap, pixel_auroc
from models.metrics.residuals import residual_terms
from models.metrics.ssim import ssim
from serving.scoring import decide
from serving.tiles import Frame, Tiling

Json = dict[str, Any]
Floats = npt.NDArray[np.floating[Any]]

GOOD: Final = "good"  # the normal class of the MVTec layout
CROPS: Final = 16  # random parts of a frame that PCA is fitted to, where training took none
MAX_PIXELS: Final = 40_000_000  # of heat maps that are held against masks: bounds memory and time
RATES: Final = (0.01, 0.05, 0.1)


@dataclass(frozen=True, slots=True)
class Side:
    """What one way of scoring says of all frames."""

    scores: dict[str, list[float]] = field(default_factory=dict)  # by term
    heat: list[Floats] = field(default_factory=list)  # of those frames that are compared by pixel


def normal_class(found: Frames, normal: tuple[str, ...]) -> tuple[str, ...]:
    """The classes that are normal: those asked for, or `good`.

    Raises DataError where nobody says which, UnknownName for a class that is not there.
    """
    for name in normal:
        if name not in found.classes:
            raise UnknownName("class", name, found.classes)
    if not normal and GOOD not in found.classes:
        raise DataError(
            f"frames are told apart by class: --normal says which of them is normal "
            f"({', '.join(found.classes) or 'the data has none'})"
        )
    return normal or (GOOD,)


def measure(
    work: Work, found: Frames, tiling: Tiling, normal: tuple[str, ...], *, limit: int | None
) -> Json:
    """The figures, of at most `limit` frames.

    Raises DataError: frames of one kind only; BadData: one cannot be read, or not be cut so.
    """
    subject = work.subject
    rows = range(len(found))
    if limit is not None and limit < len(rows):
        rows = np.linspace(0, len(rows) - 1, limit).round().astype(int).tolist()
    labels = [found.classes[found.labels[i]] for i in rows] if found.labels is not None else []
    bad = np.array([label not in normal for label in labels], bool)
    if not bad.any() or bad.all():
        raise DataError(
            f"{int((~bad).sum())} normal and {int(bad.sum())} other frames to tell apart"
        )
    work.watch.say(f"scoring {len(labels):,} frames, cut into tiles")
    own, linear, masks = Side(), Side(), []
    pixels = 0
    for i, abnormal in zip(work.watch.track(list(rows), "frames"), bad, strict=True):
        frame = frames.cut(found, i, tiling)
        mask = found.mask(i) if abnormal else np.zeros(frame.pixels.shape[:2], bool)
        terms, heat = frames.look(subject, frame, tiling)
        _add(own, dict(zip(subject.terms, terms.tolist(), strict=True)))
        other, other_heat = (
            (None, None) if work.linear is None else _by_pca(work.linear, frame, tiling)
        )
        if other is not None:
            _add(linear, other)
        pixels += heat.size
        if mask is None or mask.shape != heat.shape or pixels > MAX_PIXELS:
            continue
        masks.append(mask)
        own.heat.append(heat)
        if other_heat is not None:
            linear.heat.append(other_heat)
    figures: Json = {
        **tiling.said(),
        "normal": int((~bad).sum()),
        "abnormal": int(bad.sum()),
        "default": subject.default_term,
        "auroc": _auroc(own, bad),
        "kinds": _kinds(own, linear, labels, bad),
    }
    if work.linear is not None:
        figures["pca"] = {"size": work.linear.size, "auroc": _auroc(linear, bad)}
    figures |= _by_pixel(own, linear, masks)
    if len(masks) < len(labels):
        work.notes.append(
            f"{len(masks):,} of {len(labels):,} frames are compared pixel by pixel: "
            "the others have no mask of their size, or are too many"
        )
    if (shares := _flagged(subject, own, bad, tiling)) is not None:
        figures["flagged"] = shares
    return figures


def _add(side: Side, terms: dict[str, float]) -> None:
    for name, value in terms.items():
        side.scores.setdefault(name, []).append(value)


def _by_pca(
    linear: pca.LinearPair, frame: Frame, tiling: Tiling
) -> tuple[dict[str, float], Floats]:
    """The terms of the residual, of the worst tile by each, and the heat, as the score graph's."""
    tiles = frame.cut(tiling)
    again = linear.decode(linear.encode(tiles))
    d = (tiles.astype(np.float32) - again) / np.float32(255)
    terms = residual_terms(d) | {"ssim": 1 - ssim(images=tiles, reconstructions=again)}
    worst = {f"pca_{name}": float(each.max()) for name, each in terms.items()}
    return worst, frame.stitched(np.abs(d).mean(axis=3), tiling)


def _auroc(side: Side, bad: npt.NDArray[np.bool_]) -> dict[str, float]:
    found = {name: np.array(scores) for name, scores in side.scores.items()}
    return {name: auroc(normal=s[~bad], abnormal=s[bad]) for name, s in found.items()}


def _kinds(own: Side, linear: Side, labels: list[str], bad: npt.NDArray[np.bool_]) -> Json:
    """AUROC of each abnormal class against the normal ones."""
    names = np.array(labels)
    kinds = {}
    for kind in sorted(set(names[bad])):
        taken = ~bad | (names == kind)
        scored = [
            Side({name: np.array(scores)[taken].tolist() for name, scores in side.scores.items()})
            for side in (own, linear)
        ]
        kinds[str(kind)] = {
            "count": int((names == kind).sum()),
            "auroc": {k: v for side in scored for k, v in _auroc(side, bad[taken]).items()},
        }
    return kinds


def _by_pixel(own: Side, linear: Side, masks: list[npt.NDArray[np.bool_]]) -> Json:
    """Pixel AUROC and PRO of the heat, of ours and of PCA's; nothing without masks of defects."""
    if not any(mask.any() for mask in masks):
        return {}
    return {
        name: {
            key: metric(side.heat, masks)
            for key, side in (("heat", own), ("pca", linear))
            if side.heat
        }
        for name, metric in (("pixel_auroc", pixel_auroc), ("pro", per_region_overlap))
    } | {"pro_limit": LIMIT}


def _flagged(
    subject: Subject, own: Side, bad: npt.NDArray[np.bool_], tiling: Tiling
) -> Json | None:
    """The shares of normal and of other frames that a bundle flags which was calibrated so."""
    if subject.opened is None:
        return None
    score, term = subject.opened.manifest.score, subject.default_term
    if term not in score.calibration or dict(score.tiles or {}) != tiling.said():
        return None
    known, scores = score.calibration[term], np.array(own.scores[term])
    shares = {}
    for rate in RATES:
        flags = np.array(decide(scores, known, fpr=rate).anomalous, bool)
        shares[f"{rate:g}"] = {
            "normal": float(flags[~bad].mean()),
            "abnormal": float(flags[bad].mean()),
        }
    return {"term": term, "count": len(known), "shares": shares}
