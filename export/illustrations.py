"""What a report shows: pictures, and the numbers behind its curves."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from PIL import Image
from sklearn.neighbors import NearestNeighbors

from export.detection import Scored
from export.features import as_pixels
from export.latent_figures import FRAMES, morph
from export.work import Work
from models.metrics import classifier

Images = npt.NDArray[np.uint8]
Floats = npt.NDArray[Any]

COLUMNS: Final = FRAMES  # of pictures
WALL: Final = 144  # samples shown
PAIRS: Final = 48  # images shown beside their reconstructions
MORPHS: Final = 8  # from one image to another
COMPARED: Final = 8  # samples shown beside the training images nearest to them
NEAREST: Final = 6  # of those, each
CODES: Final = 5000  # codes in histograms
FULL_HEAT: Final = 0.99  # the quantile of heat that is coloured fully


@dataclass(frozen=True, kw_only=True, slots=True)
class Illustrations:
    """Arrays to draw."""

    wall: Images  # samples [N, H, W, C]
    pairs: Images  # images and reconstructions in turn
    heat: Floats  # of those images, [N / 2, H, W]
    full_heat: float  # heat that is coloured fully, the same for all images
    morphs: Images  # FRAMES from one image to another, then the next
    neighbours: Images  # [S, 1 + K, H, W, C]: a sample, and the training images nearest to it
    neighbours_in: str  # the space they are nearest in
    codes: Floats  # [N, Z]
    prior: str
    term: str  # the default one
    normal: Floats  # its scores of the test part
    scored: Sequence[Scored]  # normal and abnormal scores of what was to be told apart


def draw(work: Work, scored: Sequence[Scored]) -> Illustrations:
    """Pictures and curves of an evaluation, the same for the same seed and data."""
    if not work.subject.of_images:
        return _curves(work, scored)
    rows = work.picked(PAIRS)
    shown = work.test.images[rows]
    heat = work.subject.run("score", shown, watch=work.watch)[1]
    both = np.stack([shown, work.rebuilt[rows]], axis=1)
    ends = work.codes[work.picked(2 * MORPHS)]
    ends = ends[: len(ends) // 2 * 2].reshape(-1, 2, work.subject.latent)
    near, space = _neighbours(work)
    return Illustrations(
        wall=work.samples(WALL),
        pairs=both.reshape(-1, *work.subject.spec.shape),
        heat=heat,
        full_heat=_full_heat(work, heat),
        morphs=morph(work, ends),
        neighbours=near,
        neighbours_in=space,
        **_numbers(work, scored),
    )


def _curves(work: Work, scored: Sequence[Scored]) -> Illustrations:
    """Of vectors, which have no pictures."""
    nothing = np.empty((0, 1, 1, 1), np.uint8)
    return Illustrations(
        wall=nothing,
        pairs=nothing,
        heat=np.empty((0, 1, 1)),
        full_heat=1.0,
        morphs=nothing,
        neighbours=nothing[:, None],
        neighbours_in="",
        **_numbers(work, scored),
    )


def _numbers(work: Work, scored: Sequence[Scored]) -> dict[str, Any]:
    """What curves are drawn of."""
    return {
        "codes": work.free[:CODES],
        "prior": work.subject.prior,
        "term": work.subject.default_term,
        "normal": work.test_terms[:, work.subject.terms.index(work.subject.default_term)],
        "scored": scored,
    }


def tiled(images: Images, columns: int, *, gap: int = 0) -> Image.Image:
    """Images [N, H, W, C] row by row, `gap` black pixels between; the last row filled up."""
    count, height, width, channels = images.shape
    lines = -(-count // columns)
    canvas = np.zeros((lines * columns, height + gap, width + gap, channels), np.uint8)
    canvas[:count, :height, :width] = images
    size = height + gap, width + gap
    tiles = canvas.reshape(lines, columns, *size, channels).transpose(0, 2, 1, 3, 4)
    whole = tiles.reshape(lines * size[0], columns * size[1], channels)
    whole = np.ascontiguousarray(whole[: len(whole) - gap, : whole.shape[1] - gap])
    return Image.fromarray(whole[..., 0] if channels == 1 else whole)


def _full_heat(work: Work, heat: Floats) -> float:
    """A scale that no single image sets: an image without faults must not glow.

    That of the calibration where there is one, else of the images shown.
    """
    opened = work.subject.opened
    known = opened.manifest.score.extra.get("calibration", {}) if opened is not None else {}
    quantiles = (known or {}).get("heat", {}).get("quantiles", {})
    found = quantiles.get(f"{FULL_HEAT:g}", float(np.quantile(heat, FULL_HEAT)))
    return float(found) or 1.0


def _neighbours(work: Work) -> tuple[Images, str]:
    """Samples beside the training images nearest to them: copies would show here."""
    if work.train is None:
        return np.empty((0, 1, *work.subject.spec.shape), np.uint8), ""
    known, samples = work.references(work.train).images, work.samples(COMPARED)
    judge = work.judge
    space = "raw pixels" if judge is None else "classifier features"

    def encode(images: Images) -> Floats:
        return as_pixels(images) if judge is None else classifier.features(judge, images)

    work.watch.say("looking for the training images nearest to samples")
    count = min(NEAREST, len(known))
    nearest = NearestNeighbors(n_neighbors=count, algorithm="brute").fit(encode(known))
    found = nearest.kneighbors(encode(samples), return_distance=False)
    return np.concatenate([samples[:, None], known[found]], axis=1), space
