"""How often an update runs each network: what it must, and no batch twice through one of them."""

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from models import pairings
from models.config import Config
from models.datasets.dataset import Dataset
from models.training.batches import Batches
from models.training.step import Trainer

CPU = torch.device("cpu")
BATCH = 8
CLASSES = 2
Passes = dict[str, int]  # batches through each network, "NAME.x" where a critic looks at items

PLAIN: Final[dict[str, Passes]] = {
    # both halves of both sides: (x, E(x)) and (G(z), z)
    "bigan": {"E": 1, "G": 1, "joint": 4, "joint.x": 4},
    "ali": {"E": 1, "G": 1, "joint": 4, "joint.x": 4},
    # both sides of both cycles for the critics, their ends alone for G and E
    "alad": {"E": 2, "G": 2, "joint": 4, "joint.x": 4, "image": 3, "latent": 3},
    # a real and two fakes for the critics, the fakes alone for G and E
    "aegan": {"E": 2, "G": 2, "image": 5, "latent": 5},
    "aae": {"E": 1, "G": 1, "latent": 3},
    # as aegan, and x, whose features G(E(x)) is to have
    "vaegan": {"E": 1, "G": 2, "image": 6},
    "mrgan": {"E": 1, "G": 2, "image": 4},
    "fanogan": {"G": 1, "image": 3},
}


def each(names: Iterable[str], more: Passes) -> dict[str, Passes]:
    """The same for each."""
    return {name: more for name in names}


GAMES: Final = ("bigan", "ali", "alad")  # of pairs
IMAGES: Final = ("aegan", "vaegan", "mrgan", "fanogan")
MATCHED: Final = "regularisers.feature_matching=1"
MATCH: Final = {"match": 8, "match.x": 4}  # two codes beside each item, whom it sees once
# what a choice adds, where more than one pairing has it
MORE: Final[list[tuple[str, dict[str, Passes]]]] = [
    ("", each(PLAIN, {})),
    (MATCHED, {
        **each((*GAMES, "vaegan"), {}),
        **each(("aegan", "mrgan", "fanogan"), {"image": 1}),  # G and E saw no x
    }),
    ("regularisers.latent_mmd=1", each((*GAMES, "aegan", "aae", "vaegan"), {})),
    ("regularisers.mismatch=1", each(GAMES, MATCH)),
    ("regularisers.pairwise=1", {
        **each(("bigan", "ali"), {"G": 1, "joint": 1, "joint.x": 1}),
        "alad": {"joint": 1, "joint.x": 1},
    }),
    ("regularisers.gradient=1", {
        **each(("bigan", "ali"), {"joint": 1, "joint.x": 1}),
        "alad": {"joint": 1, "joint.x": 1, "image": 1, "latent": 1},
        "aegan": {"image": 1, "latent": 1},
        "aae": {"latent": 1},
        **each(("vaegan", "mrgan", "fanogan"), {"image": 1}),
    }),
    ("regularisers.dragan=1", {
        **each(GAMES, {"joint": 1, "joint.x": 1}), **each(IMAGES, {"image": 1}),
    }),
    # at x once more: in float32, and differentiated by x
    ("regularisers.r1=1", {
        **each(GAMES, {"joint": 1, "joint.x": 1}), **each(IMAGES, {"image": 1}),
        "aae": {"latent": 1},
    }),
    ("regularisers.instance_noise=0.1", each((*GAMES, *IMAGES), {})),
    ("model.critic_minibatch=std", each((*GAMES, *IMAGES), {})),
    ("model.critic_norm=spectral", each(PLAIN, {})),
    (f"model.classes={CLASSES}", each(PLAIN, {})),
    ("weights.image=2", {**each(("bigan", "ali"), {"G": 1}), "mrgan": {}}),
    ("weights.latent=2", {**each(("bigan", "ali"), {"E": 1}), "alad": {}, "aegan": {}}),
    ("weights.cycle_to_encoder=0.5", {"alad": {}, "aegan": {}}),
    ("weights.cycle_to_encoder=0", {"alad": {}, "aegan": {}}),
    ("weights.cycle_to_generator=0.5", {"alad": {}, "aegan": {}}),
    ("weights.critic_reconstruction=0", {"aegan": {"image": -2}}),
    ("weights.image_squared=1", {"aae": {}}),
    # what an objective reads from its critic, it and feature matching read together
    *((f"model.objective={name} regularisers.gradient=0 {MATCHED} model.critic_norm=spectral",
       each(("bigan",), {}))
      for name in ("hinge", "mmd-gan", "cramer", "mcgan-covariance", "fisher")),
    *((f"model.objective={name} {MATCHED}", each(("bigan",), {}))
      for name in ("ebgan", "began")),
    (f"{MATCHED} model.critic_minibatch=kernel model.classes={CLASSES} weights.latent=1", {
        **each(("bigan", "ali"), {"E": 1}), "alad": {}, "aegan": {"image": 1},
    }),
    # turns of the critics alone have passes of their own, whose ends G and E never see
    ("train.critic_steps=2", {
        "bigan": {"E": 1, "G": 1, "joint": 2, "joint.x": 2},
        "aegan": {"E": 2, "G": 2, "image": 3, "latent": 3},
    }),
]  # fmt: skip


def trainer_of(pairing: str, choice: str) -> tuple[Trainer, Batches]:
    model: dict[str, Any] = {"pairing": pairing, "network": "mlp", "vector": 2, "latent": 2,
                             "width": 4}  # fmt: skip
    tables: dict[str, Any] = {"model": model, "train": {"batch": BATCH, "steps": 4}}
    if pairing == "fanogan":
        tables["train"]["polish"] = 1
    config = Config.from_dict(tables).changed(choice.split())
    rng = np.random.default_rng(0)
    data = Dataset(
        images=rng.standard_normal((64, 2)).astype(np.float32),
        labels=np.arange(64) % CLASSES,
        classes=("a", "b"),
    )
    trainer = Trainer(config, CPU)
    if trainer.objective.warming:
        trainer.objective = trainer.objective.restored({"warmed": 10_000, "margin": 1.0})
    return trainer, Batches(data, batch=BATCH, seed=0, device=CPU)


@contextmanager
def watched(trainer: Trainer) -> Iterator[Counter[str]]:
    """Rows through each layer of each network, by the network's name, its part and the layer's."""
    rows: Counter[str] = Counter()
    networks = {"E": trainer.encoder, "G": trainer.generator, **dict(trainer.critics.items())}

    def count(label: str) -> Any:
        def hook(layer: nn.Module, given: tuple[Tensor, ...]) -> None:
            rows[label] += len(given[0])

        return hook

    handles = [
        layer.register_forward_pre_hook(count(f"{name} {inner}"))
        for name, network in networks.items()
        for inner, layer in network.named_modules()
        if isinstance(layer, nn.Linear)
    ]
    yield rows
    for handle in handles:
        handle.remove()


def passes(trainer: Trainer, batches: Batches) -> Passes:
    """Of one update: batches through the layer of each network that saw most of them."""
    with watched(trainer) as rows:
        trainer.update(batches)
    found: Passes = {}
    for label, count in rows.items():
        name, _, layer = label.partition(" ")
        names = [name, *([f"{name}.x"] if "x_features." in layer else [])]
        for each in names:
            assert count % BATCH == 0
            found[each] = max(found.get(each, 0), count // BATCH)
    return found


def added(one: Passes, more: Passes) -> Passes:
    return {**one, **{name: one.get(name, 0) + count for name, count in more.items()}}


CASES: Final = [
    pytest.param(pairing, choice, added(PLAIN[pairing], more), id=f"{pairing} {choice}")
    for choice, adds in MORE
    for pairing, more in adds.items()
]


def test_every_pairing_is_counted() -> None:
    assert set(PLAIN) == set(pairings.PAIRINGS)


@pytest.mark.parametrize(("pairing", "choice", "expected"), CASES)
def test_an_update_runs_each_network_as_often_as_it_must(
    pairing: str, choice: str, expected: Passes
) -> None:
    assert passes(*trainer_of(pairing, choice)) == expected


@pytest.mark.parametrize(("pairing", "critic"), [("bigan", "joint"), ("fanogan", "image")])
def test_polishing_looks_at_x_and_at_its_reconstruction_once(pairing: str, critic: str) -> None:
    trainer, batches = trainer_of(pairing, "train.polish=3")
    trainer.update(batches)
    trainer.update(batches)  # the first of three begins by measuring what BatchNorm there is
    parts = {critic: 2, **({f"{critic}.x": 2} if critic == "joint" else {})}
    assert passes(trainer, batches) == {"E": 1, "G": 1, **parts}
