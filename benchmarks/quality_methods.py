"""What the quality benchmark compares: pairs, trained and served, and what needs no network.

A method gives scores by name, higher for the more abnormal; which name counts is chosen on the
validation part.  Baselines see vectors scaled as the pairs see them, and pixels in [0, 1].
"""

import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import click
import numpy as np
import numpy.typing as npt
import torch
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest
from sklearn.neighbors import NearestNeighbors
from torch.nn.functional import avg_pool2d

from benchmarks.quality_sources import Array, Case
from export import bundle_writer, calibration
from export.destination import destination
from export.graphs import Dissimilarity
from export.runs import pair_of, preprocess_of
from export.subjects import open_subject
from export.watching import Silent
from models import pairings
from models.config import Config
from models.datasets import Dataset
from models.datasets.dataset import fingerprints
from models.datasets.scaling import Scaling
from models.training import loop
from models.training.checkpoint import load_pair, read_config
from serving import open_bundle

Scores = Mapping[str, npt.NDArray[Any]]  # by term, [N] each
Scorer = Callable[[Array], Scores]
Method = Callable[[Case], Scorer]

REFERENCES: Final = 10_000  # of 1-NN, and of PCA and the forest
CALIBRATORS: Final = 6_000  # of the items that a run holds out, at most
ROWS: Final = 4_096  # items scored at once
OF: Final = " of "  # stands between an aggregator and how many components PCA had


def pca(case: Case) -> Scorer:
    """Principal components, with the same aggregators as the terms of a pair."""
    see, several = _seeing(case), len(case.components) > 1
    known = see(_some(case.train))
    fitted = {
        f" of {size}" if several else "": PCA(
            min(size, *known.shape), svd_solver="covariance_eigh"
        ).fit(known)
        for size in case.components
    }

    def score(items: Array) -> Scores:
        x = see(items)
        found: dict[str, npt.NDArray[Any]] = {}
        for size, each in fitted.items():
            again = each.inverse_transform(each.transform(x))
            terms = _aggregated(x.reshape(items.shape), again.reshape(items.shape))
            found |= {term + size: scores for term, scores in terms.items()}
        return found

    return score


def _aggregated(x: npt.NDArray[np.float32], again: npt.NDArray[np.float32]) -> Scores:
    """What the score graph makes of items [N, D], or images [N, H, W, C], and of them again."""
    d = x - again
    parts = {"l1": np.abs(d), "l2": np.square(d)}
    if d.ndim == 4:
        planes = torch.from_numpy(d).movedim(3, 1)
        smooth = avg_pool2d(planes, 3, stride=1, padding=1, count_include_pad=False)
        parts["l2s"] = np.square(smooth.numpy())
    found = {name: part.reshape(len(d), -1).mean(axis=1) for name, part in parts.items()}
    return found | ({"ssim": _dissimilar(x, again.clip(0, 1))} if d.ndim == 4 else {})


def _dissimilar(x: npt.NDArray[np.float32], again: npt.NDArray[np.float32]) -> Array:
    """1 - SSIM of images [N, H, W, C] in [0, 1]."""
    differs = Dissimilarity(x.shape[1:])
    pairs = (
        [torch.from_numpy(each[i : i + ROWS]).movedim(3, 1) for each in (x, again)]
        for i in range(0, len(x), ROWS)
    )
    return np.concatenate([differs(*pair).numpy() for pair in pairs])


def forest(case: Case) -> Scorer:
    """Liu, Ting and Zhou 2008, doi 10.1109/ICDM.2008.17, as scikit-learn has it."""
    see = _seeing(case)
    fitted = IsolationForest(random_state=0).fit(see(_some(case.train)))
    return lambda items: {"depth": -fitted.score_samples(see(items))}


def nearest(case: Case) -> Scorer:
    """The distance to the nearest of the distinct normal items."""
    see = _seeing(case)
    _, rows = np.unique(fingerprints(case.train), return_index=True)
    known = see(_some(case.train[np.sort(rows)]))
    fitted = NearestNeighbors(n_neighbors=1, algorithm="brute").fit(known)
    return lambda items: {"distance": fitted.kneighbors(see(items))[0][:, 0]}


def trained(pairing: str) -> Method:
    """A pair of this pairing: trained, exported, calibrated, and asked as a bundle."""
    return lambda case: _Served(case, pairing)


METHODS: Final[Mapping[str, Method]] = MappingProxyType(
    {
        "PCA": pca,
        "isolation forest": forest,
        "1-NN": nearest,
        "bigan": trained("bigan"),
        "alad": trained("alad"),
        "aae": trained("aae"),
    }
)
TRAINED: Final = ("bigan", "alad", "aae")
AGGREGATORS: Final = ("l1", "l2", "l2s", "ssim")  # of a reconstruction's error, whoever made it


class _Served:
    """A bundle that is scored with."""

    def __init__(self, case: Case, pairing: str) -> None:
        self._folder = tempfile.TemporaryDirectory()
        here = Path(self._folder.name)
        name = f"{case.set}-{case.part}-{pairing}".replace(" ", "-").lower()
        run = _train(case, pairing, here / "run" if case.runs is None else case.runs / name)
        with torch.no_grad():
            self._pair = open_bundle(_export(case, pairing, run, here))

    def __call__(self, items: Array) -> Scores:
        parts = [self._pair.score(items[i : i + ROWS]).terms for i in range(0, len(items), ROWS)]
        terms = self._pair.manifest.score.terms
        return dict(zip(terms, np.concatenate(parts).T, strict=True))


def _train(case: Case, pairing: str, out: Path) -> Path:
    own = case.config["pairings"][pairing]
    tables = {
        section: {**case.config.get(section, {}), **own.get(section, {})}
        for section in ("data", "model", "weights", "train")
    }
    tables["model"]["pairing"] = pairing
    tables["train"] |= {"threads": 1, "sample_every": tables["train"]["steps"]}
    config = Config.from_dict(tables)
    loop.use_threads(config)
    run = loop.Run(
        out, config, Dataset(images=case.train, columns=case.columns), torch.device("cpu")
    )
    finish(run)
    return out


def finish(run: loop.Run) -> None:
    """Train to the last step, from the latest checkpoint where there is one.

    Raises click.ClickException for a checkpoint of another config, but for the number of steps.
    """
    command = "python -m benchmarks.quality"
    if (run.out / "checkpoints" / "latest").exists():
        before, found = read_config(run.out)
        if before.changed([f"train.steps={run.config.train.steps}"]) != run.config:
            raise click.ClickException(f"{run.out} was trained by another config: remove it")
        run.resume(found, command)
    else:
        shutil.rmtree(run.out, ignore_errors=True)
        run.begin(command)
    for _ in run.steps():
        pass


def _export(case: Case, pairing: str, run: Path, folder: Path) -> Path:
    watch, subject = Silent(), open_subject(run)
    critics = pairings.find(pairing).has
    trained = load_pair(run, judged=critics.joint or critics.image)
    kept = Dataset(images=case.train, columns=case.columns)
    config = trained.config
    _, held_out = kept.held_out(config.data.holdout, config.train.seed)
    normal = calibration.Normal(
        images=held_out.limited(CALIBRATORS), source="what training held out", hashes=subject.hashes
    )
    place = destination(folder / "pair" / "1")
    bundle_writer.write(
        pair_of(trained),
        place,
        preprocess=preprocess_of(trained),
        facts={},
        calibrate=lambda at, said: calibration.calibrate(at, said, normal=normal, watch=watch),
    )
    return place.path


def _some(items: Array) -> Array:
    """At most REFERENCES items, evenly spread."""
    return Dataset(images=items).limited(REFERENCES).images


def _seeing(case: Case) -> Callable[[Array], npt.NDArray[np.float32]]:
    """How baselines see items: as [N, D] numbers."""
    if case.train.dtype == np.uint8:
        return lambda items: items.reshape(len(items), -1).astype(np.float32) / np.float32(255)
    scaling = Scaling.fitted(case.train, case.config["data"]["scaling"])
    return lambda items: items if scaling is None else scaling(items)
