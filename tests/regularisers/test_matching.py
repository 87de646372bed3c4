"""Feature matching, latent MMD and mismatched pairs against slow formulas."""

import itertools
import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from games import GAN, build, config, moved, rng, softplus, turn
from models import networks, regularisers
from models.errors import BadConfig
from models.networks.joint import JointCritic
from models.pairings.pairing import given
from models.regularisers.feature_matching import feature_matching
from models.regularisers.latent_mmd import latent_mmd
from models.regularisers.mismatch import mismatch


def drawn(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_feature_matching_is_the_squared_distance_of_means() -> None:
    real = torch.tensor([[1.0, 0.0], [3.0, 2.0]])
    fake = torch.tensor([[0.0, 0.0], [0.0, 0.0], [3.0, 9.0]])
    assert feature_matching(real=real, fake=fake).item() == pytest.approx(1 + 4)


def test_latent_mmd_is_the_unbiased_sum_over_pairs() -> None:
    code, z = 2 * drawn(1, 5, 3) + 1, drawn(2, 6, 3)
    a, b = code.double().numpy(), z.double().numpy()
    squares = [np.sum((one - other) ** 2) for one, other in itertools.permutations(b, 2)]
    scale = np.mean(squares)

    def k(one: np.ndarray, other: np.ndarray) -> float:
        return float(scale / (scale + np.sum((one - other) ** 2)))

    expected = np.mean([k(one, other) for one, other in itertools.permutations(a, 2)])
    expected += np.mean([k(one, other) for one, other in itertools.permutations(b, 2)])
    expected -= 2 * np.mean([k(one, other) for one in a for other in b])
    assert latent_mmd(code=code, z=z).item() == pytest.approx(expected, rel=1e-4)


def test_latent_mmd_of_codes_like_the_prior_is_nothing_on_average() -> None:
    def mean(shift: float) -> float:
        losses = [
            latent_mmd(code=drawn(i, 64, 2) + shift, z=drawn(-i, 64, 2)) for i in range(1, 60)
        ]
        return float(np.mean(losses))

    assert abs(mean(0.0)) < 2e-3
    assert mean(0.5) > 0.02


def test_latent_mmd_draws_far_codes_back() -> None:
    code = torch.tensor([[30.0], [31.0], [32.0]], requires_grad=True)
    latent_mmd(code=code, z=drawn(1, 8, 1)).backward()
    assert code.grad is not None
    assert code.grad.sum() > 1e-5  # a Gaussian kernel has no slope left out there


class Product(JointCritic):
    """A critic that can be worked out by hand: `scale` times the product of x and z."""

    def __init__(self, scale: float = 1.0) -> None:
        nn.Module.__init__(self)
        self.scale = scale

    def features(self, x: Tensor, z: Tensor) -> Tensor:
        return x.repeat(len(z) // len(x), 1) * z

    def judged(self, features: Tensor) -> Tensor:
        return self.scale * features.sum(1)


def test_mismatch_scores_each_item_with_its_code_and_the_next_ones() -> None:
    x, z = torch.tensor([[1.0], [2.0]]), torch.tensor([[3.0], [-1.0]])

    def sp(value: float) -> float:
        return math.log(1 + math.exp(value))

    one = (sp(-3) + sp(2)) / 2 + (sp(-1) + sp(6)) / 2  # 1*3, 2*-1; 1*-1, 2*3
    assert mismatch(Product(), (x, z)).item() == pytest.approx(one, rel=1e-6)
    two = (sp(-9) + sp(-1)) / 2 + (sp(-3) + sp(-3)) / 2  # z with itself: 9, 1; mismatched -3
    assert mismatch(Product(), (x, z), (z, z)).item() == pytest.approx((one + two) / 2, rel=1e-6)


def test_a_code_that_tells_nothing_costs_two_log_two() -> None:
    loss = mismatch(Product(0.0), (drawn(1, 4, 3), drawn(2, 4, 3)))
    assert loss.item() == pytest.approx(2 * math.log(2), rel=1e-6)


@pytest.mark.parametrize("name", ["bigan", "ali", "alad"])
def test_mismatch_moves_its_own_critic_and_both_networks(name: str, x: Tensor, z: Tensor) -> None:
    made = config(name, regularisers={"mismatch": 0.5})
    pairing = build(name, regularisers={"mismatch": 0.5})
    encoder, generator = networks.build_encoder(made.model), networks.build_generator(made.model)
    critics = pairing.build_critics(made.model)
    batch = pairing.forward(encoder, generator, x, z, rng())
    critic = pairing.critic_loss(critics, batch.detached(), GAN, turn())
    both = pairing.pair_loss(critics, batch, GAN, turn())
    critic_of = critics["match"]
    pairs = (x, given(batch.code)), (given(batch.sample), z)
    losses = [
        softplus(-critic_of(x, z)).mean() + softplus(critic_of(x, z.roll(1, 0))).mean()
        for x, z in pairs
    ]
    expected = sum(losses) / 2
    assert critic["mismatch"].item() == pytest.approx(expected.item(), rel=1e-6)
    assert both["mismatch"].item() == pytest.approx(expected.item(), rel=1e-6)
    assert moved({"m": both["mismatch"]}, encoder, generator) == {"m": "EG"}
    slopes = torch.autograd.grad(critic["mismatch"], list(critics.parameters()), allow_unused=True)
    touched = {
        key.split(".")[0]
        for (key, _), slope in zip(critics.named_parameters(), slopes, strict=True)
        if slope is not None
    }
    assert touched == {"match"}
    plain = build(name).pair_loss(critics, batch, GAN, turn())["total"]
    assert both["total"].item() == pytest.approx(plain.item() + expected.item() / 2, rel=1e-5)


@pytest.mark.parametrize(
    ("name", "moves"),
    [
        ("bigan", "EG"),
        ("ali", "EG"),
        ("alad", "EG"),
        ("aegan", "G"),
        ("mrgan", "G"),
        ("fanogan", "G"),
    ],
)
def test_feature_matching_moves_who_makes_what_a_critic_sees(
    name: str, moves: str, x: Tensor, z: Tensor
) -> None:
    chosen = {"feature_matching": 0.5}
    made, pairing = config(name, regularisers=chosen), build(name, regularisers=chosen)
    encoder, generator = networks.build_encoder(made.model), networks.build_generator(made.model)
    critics = pairing.build_critics(made.model)
    batch = pairing.forward(encoder, generator, x, z, rng())
    losses = pairing.pair_loss(critics, batch, GAN, turn())
    real = given(pairing.features(critics, x, z if batch.code is None else batch.code))
    fake = given(pairing.features(critics, given(batch.sample), z))
    expected = np.square((real.mean(0) - fake.mean(0)).detach().numpy()).sum()
    assert losses["feature_matching"].item() == pytest.approx(expected, rel=1e-4)
    assert moved({"f": losses["feature_matching"]}, encoder, generator) == {"f": moves}


@pytest.mark.parametrize("name", ["bigan", "ali", "alad", "aegan", "aae", "vaegan", "mrgan"])
def test_latent_mmd_moves_e_in_every_pairing(name: str, x: Tensor, z: Tensor) -> None:
    chosen = {"latent_mmd": 3.0}
    made, pairing = config(name, regularisers=chosen), build(name, regularisers=chosen)
    encoder, generator = networks.build_encoder(made.model), networks.build_generator(made.model)
    critics = pairing.build_critics(made.model)
    batch = pairing.forward(encoder, generator, x, z, rng())
    losses = pairing.pair_loss(critics, batch, GAN, turn())
    assert moved({"m": losses["latent_mmd"]}, encoder, generator) == {"m": "E"}
    expected = latent_mmd(code=given(batch.code), z=z).item()
    assert losses["latent_mmd"].item() == pytest.approx(expected, rel=1e-6)
    plain = build(name).pair_loss(critics, batch, GAN, turn())["total"].item()
    assert losses["total"].item() == pytest.approx(plain + 3 * expected, rel=1e-4)


@pytest.mark.parametrize("name", ["feature_matching", "latent_mmd", "mismatch"])
def test_a_weight_is_read_and_a_wrong_one_refused(name: str) -> None:
    assert getattr(regularisers.parse({name: 2}), name) == 2
    assert getattr(regularisers.parse({name: {"weight": 2}}), name) == 2
    assert getattr(regularisers.parse({name: 0}), name) is None
    for wrong in (-1, True, "much", float("nan")):
        with pytest.raises(BadConfig, match=rf"regularisers\.{name}"):
            regularisers.parse({name: wrong})


def test_a_linear_encoder_learns_the_prior_by_latent_mmd_alone() -> None:
    torch.manual_seed(0)
    encoder = nn.Linear(2, 2)
    optimiser = torch.optim.Adam(encoder.parameters(), lr=0.05)
    for step in range(300):
        x = 4 * drawn(2 * step + 1, 128, 2) + 7
        optimiser.zero_grad()
        latent_mmd(code=encoder(x), z=drawn(2 * step + 2, 128, 2)).backward()
        optimiser.step()
    code = encoder(4 * drawn(10_000, 2000, 2) + 7)
    assert code.mean(0).abs().max() < 0.15
    assert code.std(0).sub(1).abs().max() < 0.2
