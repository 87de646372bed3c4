"""How well scores tell normal from abnormal images, beside what needs no network at all."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from sklearn.ensemble import IsolationForest

from export.features import as_pixels
from export.parts import HELD_OUT, OneClass
from export.work import Work
from models.datasets import Dataset
from models.metrics import pca
from models.metrics.auroc import auroc
from models.metrics.average_precision import average_precision
from models.metrics.residuals import residual_terms
from serving.scoring import decide

Images = npt.NDArray[np.uint8]
Scores = npt.NDArray[Any]
Json = dict[str, Any]

FOREST_ROWS: Final = 10_000  # training images of an isolation forest: each tree draws 256
RATES: Final = (0.01, 0.05, 0.1)  # of normal images that may be flagged


@dataclass(frozen=True, kw_only=True, slots=True)
class Scored:
    """Two sets of images and their scores, for tables and curves."""

    title: str  # what was told from what
    normal: dict[str, Scores]  # by term or baseline, [N] each
    abnormal: dict[str, Scores]  # [M] each

    @property
    def names(self) -> tuple[str, ...]:
        """Terms first, then baselines."""
        return tuple(self.normal)


def against(work: Work, abnormal: Dataset, name: str) -> Scored:
    """The test part against images of another data set."""
    work.watch.say(f"scoring {len(abnormal):,} other images")
    known = None if work.train is None else work.references(work.train)
    return _scored(
        work,
        title=f"{work.items} against those of {name}",
        normal=(work.test.images, work.test_terms),
        abnormal=(abnormal.images, work.terms(abnormal.images)),
        linear=work.linear,
        known=known,
    )


def one_class(work: Work, data: OneClass) -> Scored:
    """The normal classes against all others; baselines know the normal training images alone."""
    normal, abnormal = data.normal.images, data.abnormal.images
    work.watch.say(f"scoring {len(normal):,} normal and {len(abnormal):,} other images")
    known = None if data.train is None else work.references(data.train)
    linear = None
    if known is not None and len(known) > 1:
        seen = work.subject.seen(known.images)
        linear = pca.fit(seen, size=work.subject.latent, seed=work.seed)
    return _scored(
        work,
        title=f"{work.items} of class {', '.join(data.classes)} against all other classes",
        normal=(normal, work.terms(normal)),
        abnormal=(abnormal, work.terms(abnormal)),
        linear=linear,
        known=known,
    )


def figures(scored: Scored, *, terms: tuple[str, ...], default: str) -> Json:
    """AUROC and average precision of each term and baseline."""
    pairs = {
        name: {"normal": scored.normal[name], "abnormal": scored.abnormal[name]}
        for name in scored.names
    }
    counts = (len(scored.normal[default]), len(scored.abnormal[default]))
    found: Json = {
        "normal": counts[0],
        "abnormal": counts[1],
        "abnormal_share": counts[1] / sum(counts),
        "default": default,
        "auroc": {name: auroc(**pairs[name]) for name in terms},
        "average_precision": {name: average_precision(**pairs[name]) for name in terms},
    }
    for name in scored.names[len(terms) :]:
        found[name] = auroc(**pairs[name])
        found[f"{name}_average_precision"] = average_precision(**pairs[name])
    return found


def flagged(work: Work) -> Json | None:
    """The share of test images that a calibrated bundle flags, by its default term.

    None, and a note, where the same images calibrated it: of them it flags what it is asked to.
    """
    opened = work.subject.opened
    default = work.subject.default_term
    if opened is None or default not in opened.manifest.score.calibration:
        return None
    if opened.manifest.score.tiles is not None:  # of whole frames, which these are not
        return None
    source = opened.manifest.score.extra["calibration"].get("source")
    if work.parts.held_out and str(source).endswith(HELD_OUT):
        work.notes.append("the same images calibrated the bundle: what it flags says nothing")
        return None
    known = opened.manifest.score.calibration[default]
    scores = work.test_terms[:, work.subject.terms.index(default)]
    shares = {}
    for rate in RATES:
        answer = decide(scores, known, fpr=rate)
        shares[f"{rate:g}"] = sum(map(bool, answer.anomalous)) / len(scores)
    return {"term": default, "count": len(known), "images": len(scores), "shares": shares}


def _scored(
    work: Work,
    *,
    title: str,
    normal: tuple[Images, npt.NDArray[np.float32]],
    abnormal: tuple[Images, npt.NDArray[np.float32]],
    linear: pca.LinearPair | None,
    known: Dataset | None,
) -> Scored:
    found = [dict(zip(work.subject.terms, terms.T, strict=True)) for _, terms in (normal, abnormal)]
    sides: list[tuple[Images, dict[str, Scores]]] = [
        (normal[0], found[0]),
        (abnormal[0], found[1]),
    ]
    seen = work.subject.seen
    if linear is not None:
        for images, scores in sides:
            scores |= by_pca(linear, seen(images))
    if known is not None and len(known) > 1:
        known = known.limited(FOREST_ROWS)
        work.watch.say(f"fitting an isolation forest to {len(known):,} images")
        forest = IsolationForest(random_state=work.seed % 2**32)
        forest.fit(as_pixels(seen(known.images)))
        for images, scores in sides:
            scores["isolation_forest"] = -forest.score_samples(as_pixels(seen(images)))
    return Scored(title=title, normal=sides[0][1], abnormal=sides[1][1])


def by_pca(linear: pca.LinearPair, images: Images) -> dict[str, npt.NDArray[np.float64]]:
    """The terms [N] of PCA's residual that are compared with: l2, of images peak and blob too."""
    white = np.float32(255.0 if images.dtype == np.uint8 else 1.0)
    parts = []
    for start in range(0, len(images), pca.ROWS):
        some = images[start : start + pca.ROWS]
        d = (some.astype(np.float32) - linear.decode(linear.encode(some))) / white
        of_vectors = d.ndim == 2
        parts.append({"l2": np.square(d).mean(axis=1)} if of_vectors else residual_terms(d))
    return {
        f"pca_{name}": np.concatenate([part[name] for part in parts]).astype(np.float64)
        for name in parts[0]
    }
