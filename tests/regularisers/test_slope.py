"""Penalties on a critic's slope take it in float32, whatever the pass around them."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from games import rng
from models.networks.joint import JointCritic
from models.networks.mlp import VectorFeatures
from models.regularisers.dragan_penalty import dragan_penalty
from models.regularisers.gradient_penalty import gradient_penalty
from models.regularisers.pairwise_penalty import pairwise_penalty
from models.regularisers.r1_penalty import r1_penalty

X, Z, SAMPLE, DRAWN = (torch.randn(6, n, generator=rng()).bfloat16() for n in (3, 2, 3, 2))
PENALTIES: dict[str, Callable[[JointCritic, tuple[Tensor, ...]], Tensor]] = {
    "gradient": lambda c, p: gradient_penalty(c, real=p[:2], fake=p[2:], rng=rng()),
    "dragan": lambda c, p: dragan_penalty(c, *p[:2], rng=rng()),
    "r1": lambda c, p: r1_penalty(c, *p[:2]),
    "pairwise": lambda c, p: pairwise_penalty(c, x=p[0], z=p[1], reconstruction=p[2], rng=rng()),
}


@pytest.mark.parametrize("name", PENALTIES)
def test_under_autocast_a_penalty_is_that_of_float32(name: str) -> None:
    torch.manual_seed(0)
    critic = JointCritic(VectorFeatures(vector=3, width=8), 8, latent=2, width=8, joint=8)
    parts = X.float(), Z, SAMPLE.float(), DRAWN  # codes as a network under autocast gives them
    plain = PENALTIES[name](critic, tuple(part.float() for part in parts))
    with torch.autocast("cpu", torch.bfloat16):
        found = PENALTIES[name](critic, parts)
        assert critic(parts[0], Z).dtype == torch.bfloat16
    assert found.dtype == torch.float32
    assert found.item() == plain.item()
    found.backward()
    assert all(weight.grad is not None for weight in critic.x_features.parameters())
