"""How like real images the samples are, in each space, beside real images of another part.

Real against real is what a perfect generator would reach: no distance of two finite sets is 0,
and in many dimensions most are far from it.
"""

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from export.features import Space, spaces
from export.work import Work
from models.metrics.density_coverage import density_coverage
from models.metrics.frechet import enough_rows, frechet_distance
from models.metrics.kernel_mmd import kernel_mmd, median_distance
from models.metrics.precision_recall import precision_recall
from models.metrics.two_sample import two_sample_accuracy
from models.metrics.wasserstein import exact_wasserstein, sliced_wasserstein

Json = dict[str, Any]
Floats = npt.NDArray[Any]

ROWS: Final = 10_000  # of each set, for what takes them all
SUBSET: Final = 2000  # for what looks at all pairs
TRANSPORT: Final = 1000  # for the exact Wasserstein distance
FEWEST: Final = 10  # images: of fewer nothing can be said
MAX_NUMBERS: Final = 20_000_000  # features of one set: bounds memory
MAX_DIMENSIONS: Final = 2048  # of a covariance: its root takes their third power


def likeness(work: Work, *, given: Space | None) -> Json | None:
    """Distances between samples and the test part in every space; None for a handful of images.

    As many samples as test images are taken, ROWS at most, or fewer where memory says so; the
    figures say how many.  `given` is a space that the caller brings.
    """
    size = int(np.prod(work.subject.spec.shape))
    rows = min(ROWS, len(work.test), max(FEWEST, MAX_NUMBERS // size))
    if rows < FEWEST:
        work.notes.append(f"{rows} images are too few to compare samples with")
        return None
    work.watch.say(f"drawing {rows:,} samples")
    sets = {"real": work.test.limited(rows).images, "samples": work.samples(rows)}
    if work.train is not None and len(work.train) >= rows:
        sets["train"] = work.train.limited(rows).images
    found: list[Json] = []
    for space in spaces(work, given):
        work.watch.say(f"comparing samples in {space.name}")
        found.append(_in_space(space, work, sets))
    return {
        "rows": rows,
        "subset": min(rows, SUBSET),
        "transport": min(rows, TRANSPORT),
        "spaces": found,
    }


def _in_space(space: Space, work: Work, sets: dict[str, npt.NDArray[np.uint8]]) -> Json:
    features = {name: space.encode(images) for name, images in sets.items()}
    rows, dimensions = features["real"].shape
    figures: Json = {"key": space.key, "name": space.name, "dimensions": dimensions}
    if dimensions > MAX_DIMENSIONS:
        work.notes.append(
            f"{space.name} have {dimensions:,} dimensions: no Frechet distance above "
            f"{MAX_DIMENSIONS:,}"
        )
    elif not enough_rows(rows=rows, dimensions=dimensions):
        work.notes.append(
            f"the Frechet distance in {space.name} is too large: {rows:,} images for "
            f"{dimensions:,} dimensions, {2 * dimensions:,} are needed"
        )
    figures["samples"] = distances(features["real"], features["samples"], seed=work.seed)
    if "train" in features:
        figures["real"] = distances(features["real"], features["train"], seed=work.seed)
    return figures


def distances(real: Floats, samples: Floats, *, seed: int) -> Json:
    """All distances between two sets of as many features [N, D] each."""
    some, theirs = _spread(real, SUBSET), _spread(samples, SUBSET)
    few = {"real": _spread(real, TRANSPORT), "samples": _spread(samples, TRANSPORT)}
    figures: Json = {}
    if real.shape[1] <= MAX_DIMENSIONS:
        figures["frechet"] = frechet_distance(real=real, samples=samples)
    width = median_distance(real=some, samples=theirs)
    if width > 0:  # 0 where most images are alike
        figures["mmd"] = kernel_mmd(real=some, samples=theirs, bandwidth=width)
    apart = two_sample_accuracy(real=some, samples=theirs)
    near = precision_recall(real=some, samples=theirs)
    crowd = density_coverage(real=some, samples=theirs)
    return figures | {
        "wasserstein": exact_wasserstein(**few),
        "sliced_wasserstein": sliced_wasserstein(real=real, samples=samples, seed=seed),
        "two_sample_real": apart.real,
        "two_sample_samples": apart.samples,
        "precision": near.precision,
        "recall": near.recall,
        "density": crowd.density,
        "coverage": crowd.coverage,
    }


def _spread(rows: Floats, count: int) -> Floats:
    """At most so many rows, evenly spread."""
    if len(rows) <= count:
        return rows
    return rows[np.linspace(0, len(rows) - 1, count).round().astype(np.int64)]
