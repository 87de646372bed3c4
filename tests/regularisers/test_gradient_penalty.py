"""The gradient penalty on critics whose slope is known, and against central differences."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from models import regularisers
from models.errors import BadConfig, UnknownName
from models.objectives import cramer, mmd_gan
from models.objectives.embedding import EmbeddingObjective
from models.objectives.objective import Pair
from models.regularisers import Clip, Gradient
from models.regularisers.gradient_penalty import gradient_penalty
from models.regularisers.weight_clip import clip


def rng() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def drawn(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


REAL = Pair(x=drawn(4, 1, 3, 2, seed=1), z=drawn(4, 2, seed=2))
FAKE = Pair(x=drawn(4, 1, 3, 2, seed=3), z=drawn(4, 2, seed=4))


def linear(x_slope: Tensor, z_slope: Tensor) -> Any:
    return lambda x, z: (x * x_slope).flatten(1).sum(1) + (z * z_slope).sum(1)


def test_a_linear_critic_pays_for_the_length_of_its_slope_over_x_and_z() -> None:
    x_slope, z_slope = drawn(1, 3, 2, seed=5), drawn(2, seed=6)
    found = gradient_penalty(linear(x_slope, z_slope), real=REAL, fake=FAKE, rng=rng())
    length = np.sqrt((x_slope.numpy() ** 2).sum() + (z_slope.numpy() ** 2).sum())
    assert found.item() == pytest.approx((length - 1) ** 2, rel=1e-5)


def test_a_critic_of_slope_one_pays_nothing() -> None:
    both = drawn(8, seed=7)
    both = both / both.norm()
    critic = linear(both[:6].reshape(1, 3, 2), both[6:])
    found = gradient_penalty(critic, real=REAL, fake=FAKE, rng=rng())
    assert found.item() == pytest.approx(0, abs=1e-10)


def test_x_and_z_are_mixed_by_the_same_weight_one_for_each_pair() -> None:
    places = []

    def critic(x: Tensor, z: Tensor) -> Tensor:
        places.append((x.detach(), z.detach()))
        return x.flatten(1).sum(1) + z.sum(1)

    gradient_penalty(critic, real=REAL, fake=FAKE, rng=rng())
    ((x, z),) = places
    mix = torch.cat(
        [((x - FAKE.x) / (REAL.x - FAKE.x)).flatten(1), (z - FAKE.z) / (REAL.z - FAKE.z)], dim=1
    ).numpy()
    assert np.ptp(mix, axis=1) == pytest.approx(0, abs=1e-3)
    assert np.ptp(mix[:, 0]) > 0.05
    assert ((mix > -1e-3) & (mix < 1 + 1e-3)).all()


def test_only_the_critic_is_trained() -> None:
    code, sample = REAL.z.clone().requires_grad_(), FAKE.x.clone().requires_grad_()
    weight = torch.full((1, 3, 2), 0.2, requires_grad=True)
    critic = linear(weight, torch.zeros(2))
    gradient_penalty(
        critic, real=Pair(x=REAL.x, z=code), fake=Pair(x=sample, z=FAKE.z), rng=rng()
    ).backward()
    assert code.grad is None
    assert sample.grad is None
    assert weight.grad is not None
    assert weight.grad.abs().max() > 0


@pytest.mark.parametrize("objective", [mmd_gan.OBJECTIVE, cramer.OBJECTIVE], ids=["mmd", "cramer"])
def test_a_witness_is_held_through_the_critic(objective: EmbeddingObjective) -> None:
    """The penalty by central differences of the witness at the very places it is taken at."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 4)).double()

    def critic(x: Tensor, z: Tensor) -> Tensor:
        points: Tensor = network(torch.cat([x, z], dim=1))
        return points

    real = Pair(x=drawn(4, 3, seed=1).double(), z=drawn(4, 2, seed=2).double())
    fake = Pair(x=drawn(4, 3, seed=3).double(), z=drawn(4, 2, seed=4).double())
    witness = objective.critic_terms(critic, real=real, fake=fake).witness
    assert witness is not None
    found = gradient_penalty(witness, real=real, fake=fake, rng=rng())
    mix = torch.rand(4, generator=rng())[:, None]
    places = torch.cat([mix * a + (1 - mix) * b for a, b in zip(real, fake, strict=True)], dim=1)
    clouds = {"real": critic(*real), "fake": critic(*fake)}
    step, squares = 1e-5, np.zeros(4)
    assert objective.witness is not None
    for axis in range(5):
        move = torch.zeros(5, dtype=torch.float64)
        move[axis] = step
        above, below = (
            objective.witness(network(places + sign * move), **clouds) for sign in (1, -1)
        )
        squares += (((above - below) / (2 * step)) ** 2).detach().numpy()
    # the family reads embeddings in float32
    assert found.item() == pytest.approx(np.mean((np.sqrt(squares) - 1) ** 2), rel=1e-3)
    found.backward()  # twice differentiable
    for weight in network.parameters():
        assert weight.grad is None or weight.grad.isfinite().all()


def test_clipping_bounds_every_weight_and_bias() -> None:
    torch.manual_seed(0)
    critic = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(16, 1))
    clip(critic, low=-0.02, high=0.05)
    values = torch.cat([weight.flatten() for weight in critic.parameters()])
    assert (values.min().item(), values.max().item()) == pytest.approx((-0.02, 0.05))


def test_settings_are_numbers_or_tables() -> None:
    assert regularisers.parse({}).gradient is None
    assert regularisers.parse({"gradient": 0}).gradient is None
    assert regularisers.parse({"gradient": 3}).gradient == Gradient(weight=3.0)
    assert regularisers.parse({"gradient": {}}).gradient == Gradient(weight=10.0)
    assert regularisers.parse({"clip": 0}).clip is None
    assert regularisers.parse({"clip": 0.01}).clip == Clip(low=-0.01, high=0.01)
    lopsided = regularisers.parse({"clip": {"low": -0.005, "high": 0.01}}).clip
    assert lopsided == Clip(low=-0.005, high=0.01)


@pytest.mark.parametrize(
    ("table", "error", "why"),
    [
        ({"gradient": -1}, BadConfig, "0 or more"),
        ({"gradient": {"lambda": 1}}, UnknownName, "choose from: weight"),
        ({"clip": -1}, BadConfig, "0 or more"),
        ({"clip": "on"}, BadConfig, "0 or more"),
        ({"clip": {"low": 0.1, "high": 0.2}}, BadConfig, "low < 0 < high"),
        ({"clip": {"high": 0.2}}, BadConfig, "got None"),
        ({"clip": {"bound": 0.2}}, UnknownName, "high, low"),
    ],
)
def test_wrong_settings_are_refused(
    table: dict[str, object], error: type[Exception], why: str
) -> None:
    with pytest.raises(error, match=why):
        regularisers.parse(table)
