"""Whom each loss of each pairing moves, and what no loss may move."""

from typing import Any

import pytest
import torch
from torch import Tensor

from games import GAN, build, config, gradients, moved, rng, turn
from models import networks, pairings
from models.config import STOCHASTIC
from models.networks.gaussian import GaussianEncoder
from models.pairings.pairing import Pass, given

ROUTES: dict[str, dict[str, str]] = {
    "bigan": {"generator": "G", "encoder": "E", "total": "EG"},
    "ali": {"generator": "G", "encoder": "E", "log_sigma": "E", "total": "EG"},
    "alad": {
        "generator": "G",
        "encoder": "E",
        "cycle_image": "EG",
        "cycle_latent": "EG",
        "total": "EG",
    },
    "aegan": {
        "sample": "G",
        "code": "E",
        "reconstruction": "EG",
        "cycle": "EG",
        "image": "EG",
        "latent": "EG",
        "total": "EG",
    },
    "aae": {"image": "EG", "code": "E", "total": "EG"},
    "vaegan": {
        "divergence": "E",
        "feature": "E",
        "feature_generator": "G",
        "sample": "G",
        "reconstruction": "G",
        "log_sigma": "E",
        "total": "EG",
    },
    "mrgan": {"sample": "G", "image": "EG", "reconstruction": "EG", "total": "EG"},
    "fanogan": {"sample": "G", "total": "G"},
}


def played(name: str, x: Tensor, z: Tensor, **more: Any) -> tuple[Any, ...]:
    """The pairing, its networks, critics and a pass."""
    made, pairing = config(name, **more), build(name, **more)
    torch.manual_seed(0)
    pair = networks.build_encoder(made.model), networks.build_generator(made.model)
    critics = pairing.build_critics(made.model)
    return pairing, *pair, critics, pairing.forward(*pair, x, z, rng())


def test_every_pairing_has_its_routes_here() -> None:
    assert set(ROUTES) == set(pairings.PAIRINGS)


@pytest.mark.parametrize("name", ROUTES)
def test_every_loss_moves_whom_it_should(name: str, x: Tensor, z: Tensor) -> None:
    pairing, encoder, generator, critics, batch = played(name, x, z)
    losses = pairing.pair_loss(critics, batch, GAN, turn())
    assert moved(losses, encoder, generator) == ROUTES[name]


@pytest.mark.parametrize("name", ROUTES)
def test_critics_learn_from_their_own_loss_and_leave_the_pair_alone(
    name: str, x: Tensor, z: Tensor
) -> None:
    pairing, encoder, generator, critics, batch = played(name, x, z)
    losses = pairing.critic_loss(critics, batch.detached(), GAN, turn())
    assert moved({"total": losses["total"]}, encoder, generator) == {"total": ""}
    for gradient in gradients(losses["total"], critics):
        assert gradient is not None


@pytest.mark.parametrize("name", ROUTES)
def test_a_pass_that_is_detached_leads_nowhere(name: str, x: Tensor, z: Tensor) -> None:
    *_, batch = played(name, x, z)
    cut: Pass = batch.detached()
    parts = [cut.code, cut.sample, cut.reconstruction, cut.cycle, cut.entry, *(cut.gaussian or ())]
    assert not any(part.requires_grad for part in parts if part is not None)


@pytest.mark.parametrize("name", ["bigan", "ali", "alad", "aegan"])
@pytest.mark.parametrize(
    ("spared", "moves"),
    [("cycle_to_generator", "E"), ("cycle_to_encoder", "G")],
)
def test_the_code_cycle_can_be_kept_from_either(
    name: str, spared: str, moves: str, x: Tensor, z: Tensor
) -> None:
    weights = {spared: 0.0} if name == "alad" else {spared: 0.0, "latent": 1.0}
    pairing, encoder, generator, critics, batch = played(name, x, z, weights=weights)
    losses = pairing.pair_loss(critics, batch, GAN, turn())
    cycle = "cycle_latent" if name == "alad" else "latent"
    assert moved({cycle: losses[cycle]}, encoder, generator) == {cycle: moves}
    assert all(weight.requires_grad for weight in encoder.parameters())


def test_a_share_of_the_code_cycle_reaches_e(x: Tensor, z: Tensor) -> None:
    found = []
    for share in (1.0, 0.25):
        weights = {"cycle_to_encoder": share}
        pairing, encoder, generator, critics, batch = played("aegan", x, z, weights=weights)
        loss = pairing.pair_loss(critics, batch, GAN, turn())["latent"]
        found.append((gradients(loss, encoder), gradients(loss, generator), loss))
    for whole, some in zip(found[0][0], found[1][0], strict=True):
        torch.testing.assert_close(some, 0.25 * given(whole))
    for whole, some in zip(found[0][1], found[1][1], strict=True):
        torch.testing.assert_close(some, whole)
    torch.testing.assert_close(found[0][2], found[1][2])


def test_an_encoder_is_a_gaussian_where_its_pairing_draws_from_it() -> None:
    for name in pairings.PAIRINGS:
        encoder = networks.build_encoder(config(name).model)
        assert isinstance(encoder, GaussianEncoder) == (name in STOCHASTIC)
    assert set(STOCHASTIC) <= set(pairings.PAIRINGS)
