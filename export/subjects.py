"""What can be measured: a run, answered by torch, or a bundle, answered by the engine.

Both are seen as the same four graphs, so that a figure has one definition.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from export import graphs, parity, trained_on
from export.errors import BadData
from export.runs import pair_of, spec_of
from export.watching import Silent
from models import networks
from models.config import Config
from models.errors import ModelError
from models.networks.labelled import told
from models.training.checkpoint import load_pair, read_config
from serving import bundle, labels
from serving.bundle import MANIFEST, Bundle, Prior, VectorSpec
from serving.engine import Engine
from serving.images import ImageSpec

Array = npt.NDArray[Any]

ROWS: Final = 128  # items per call: larger batches leave the cache


@dataclass(frozen=True, kw_only=True, slots=True)
class Subject:
    """A pair of networks that answers, and what is known of it.

    One that is conditional answers as where nobody knows the labels.
    """

    kind: str  # "run" or "bundle"
    title: str  # how the report calls it
    path: Path
    device: str
    spec: ImageSpec | VectorSpec
    latent: int  # Z
    prior: Prior
    categorical: int  # of Z; 0 but for a mixed prior
    terms: tuple[str, ...]
    default_term: str
    config: Config | None  # of the training, where it is known
    fingerprint: str | None  # of the data trained on, held-out items included
    hashes: npt.NDArray[np.uint64] | None  # of the items trained on, where they are known
    answer: Callable[[str, Array], Sequence[Array]]  # graph, some rows -> its outputs
    opened: Bundle | None = None
    pair: graphs.Pair | None = None  # the networks themselves, of a run

    @property
    def image(self) -> ImageSpec | None:
        """What is done with images; None where it takes vectors."""
        return self.spec if isinstance(self.spec, ImageSpec) else None

    @property
    def of_images(self) -> bool:
        """Whether it takes images, not vectors."""
        return self.image is not None

    def seen(self, items: Array) -> Array:
        """Items as baselines see them: images as they are, vectors on the networks' scale."""
        scale = self.spec.scale if isinstance(self.spec, VectorSpec) else None
        return items if scale is None else items / scale

    def run(
        self, graph: str, rows: Array, *, outputs: int | None = None, watch: Silent
    ) -> list[Array]:
        """The first `outputs` of `graph`, all for None, of any number of rows.

        Computed some at a time: a heat map of every image may not fit into memory.
        """
        starts = watch.track(range(0, len(rows), ROWS), graph)
        parts = [self.answer(graph, rows[i : i + ROWS])[:outputs] for i in starts]
        return [np.concatenate(each) for each in zip(*parts, strict=True)]

    def fresh_encoder(self, seed: int) -> nn.Module | None:
        """An encoder of the same architecture with random weights; None where it is not known."""
        if self.config is None:
            return None
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return told(networks.build_encoder(self.config.model), None)


def open_subject(path: Path) -> Subject:
    """The run or the bundle at `path`.

    Raises:
        BadData: there is neither.
        BundleError, RunError: it is one, and cannot be opened.
    """
    if (path / MANIFEST).exists():
        return _bundle(path)
    if (path / "config.json").exists():
        return _run(path)
    raise BadData(f"{path} is neither a run (no config.json) nor a bundle (no {MANIFEST})")


def _run(path: Path) -> Subject:
    config, found = read_config(path)
    trained = load_pair(path)
    pair = pair_of(trained)
    built = graphs.build(pair)
    return Subject(
        kind="run",
        title=f"{path}, step {trained.step}",
        path=path,
        device="cpu",
        spec=spec_of(trained),
        latent=pair.latent,
        prior=pair.prior,
        categorical=pair.categorical,
        terms=graphs.score_terms(pair),
        default_term=graphs.default_term(pair),
        config=config,
        fingerprint=found.get("fingerprint"),
        hashes=trained_on.of_run(path),
        answer=lambda graph, rows: parity.expected(
            built[graph], rows, *([labels.unknown(len(rows))] if pair.classes else [])
        ),
        pair=pair,
    )


def _bundle(path: Path) -> Subject:
    opened = bundle.read(path)
    manifest = opened.manifest
    spec = manifest.image or manifest.vector
    assert spec is not None  # the manifest was checked
    engine = Engine(opened)
    training = manifest.extra.get("training") or {}
    return Subject(
        kind="bundle",
        title=f"{manifest.name}, version {manifest.version}",
        path=path,
        device=engine.device,
        spec=spec,
        latent=manifest.latent.size,
        prior=manifest.latent.prior,
        categorical=manifest.latent.categorical,
        terms=manifest.score.terms,
        default_term=manifest.score.default,
        config=_config_in(training),
        fingerprint=training.get("fingerprint"),
        hashes=trained_on.of_bundle(opened),
        answer=lambda graph, rows: engine.run(graph, labels.completed(manifest, graph, (rows,))),
        opened=opened,
    )


def _config_in(training: Any) -> Config | None:
    """The training config that a manifest carries; None where there is none that this reads."""
    try:
        return Config.from_dict(training["config"])
    except (KeyError, TypeError, ModelError):  # made by hand, or by another version
        return None
