"""The energy family: errors, losses and states against values worked out by hand."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from models.errors import BadConfig, UnknownName
from models.networks.heads import Rebuilt
from models.objectives import began, ebgan, magan
from models.objectives.energy import encoder_loss, energy, generator_loss
from models.objectives.objective import Pair

REAL, FAKE = torch.tensor([1.0, 3.0]), torch.tensor([2.0, 6.0])


@pytest.mark.parametrize(("power", "expected"), [(1, [1.5 + 6, 0.5]), (2, [2.5 + 18, 0.5])])
def test_an_energy_is_the_mean_error_in_x_and_in_z(power: int, expected: list[float]) -> None:
    pair = Pair(x=torch.tensor([[1.0, 2.0], [0.0, 1.0]]), z=torch.tensor([[3.0], [1.0]]))
    rebuilt = Rebuilt(
        x=torch.tensor([[2.0, 0.0], [1.0, 1.0]]),  # off by 1, 2; 1, 0
        z=torch.tensor([[0.0], [1.0]]),  # off by 3; 0
        code=torch.zeros(2, 1),
    )
    found = energy(pair, rebuilt, power=power, latent_weight=2.0)
    assert found.tolist() == pytest.approx(expected)


def test_g_lowers_the_energy_of_fakes_and_e_raises_that_of_reals_to_a_ceiling() -> None:
    assert generator_loss(fake=FAKE).item() == 4.0
    assert encoder_loss(real=REAL, ceiling=2.5).item() == pytest.approx(0.75)  # (1.5 + 0) / 2
    assert encoder_loss(real=REAL, ceiling=1.0).item() == 0.0


def test_ebgan_pushes_fakes_up_to_the_margin() -> None:
    state = ebgan.State(margin=5.0)
    loss = ebgan.critic_loss(state, real=REAL, fake=FAKE)
    assert loss.item() == pytest.approx(2.0 + 1.5)  # (3 + 0) / 2
    assert state.ceiling == 5.0


def test_pull_away_is_the_mean_squared_cosine_of_two_codes() -> None:
    codes = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    cosines = [
        (codes[i] @ codes[j] / np.linalg.norm(codes[i]) / np.linalg.norm(codes[j])) ** 2
        for i in range(4)
        for j in range(4)
        if i != j
    ]
    state = ebgan.State(settings=ebgan.Settings(pull_away=0.3))
    found = ebgan.pull_away(state, codes=torch.tensor(codes))
    assert found.item() == pytest.approx(0.3 * np.mean(cosines), rel=1e-5)
    apart = ebgan.pull_away(state, codes=torch.eye(3))
    assert apart.item() == 0


def test_ebgans_margin_is_a_multiple_of_the_last_energy_of_the_warm_up() -> None:
    state = ebgan.State(settings=ebgan.Settings(warmup=2, ratio=6.0))
    assert state.warming
    state = ebgan.warm_up(state, real=0.9)
    assert state.warming
    state = ebgan.warm_up(state, real=0.5)
    assert not state.warming
    assert state.margin == pytest.approx(3.0)


def test_began_weighs_fakes_by_its_controller() -> None:
    state = began.State(k=0.25)
    assert began.critic_loss(state, real=REAL, fake=FAKE).item() == pytest.approx(2 - 0.25 * 4)


def test_began_follows_the_balance_of_energies_and_stays_in_bounds() -> None:
    settings = began.Settings(gain=0.1, diversity=0.5)
    state = began.advance(began.State(settings=settings, k=0.3), real=4.0, fake=1.0)
    assert state.k == pytest.approx(0.3 + 0.1 * (2 - 1))
    assert state.convergence == pytest.approx(4 + abs(2 - 1))
    assert state.ceiling == pytest.approx(2.0)  # e(fake) / diversity
    assert began.advance(state, real=0.0, fake=100.0).k == 0.0
    assert began.advance(state, real=100.0, fake=0.0).k == 1.0


def test_magans_margin_starts_at_the_energy_after_the_warm_up() -> None:
    state = magan.State(settings=magan.Settings(warmup=1))
    state = magan.warm_up(state, real=0.7)
    assert (state.warming, state.margin, state.ceiling) == (False, 0.7, 0.7)
    loss = magan.critic_loss(magan.State(margin=5.0), real=REAL, fake=FAKE)
    assert loss.item() == pytest.approx(3.5)


@pytest.mark.parametrize(
    ("margin", "before", "real", "fake", "after"),
    [
        (1.0, 0.9, 0.5, 0.9, 0.5),  # below the margin and below fakes, which held
        (1.0, 0.9, 0.5, 0.8, 1.0),  # fakes came down
        (1.0, 0.1, 0.5, 0.4, 1.0),  # not below fakes
        (0.4, 0.1, 0.5, 0.9, 0.4),  # not below the margin
        (1.0, math.inf, 0.5, 0.9, 1.0),  # the first epoch has none before it
    ],
)
def test_magans_margin_shrinks_by_its_rule(
    margin: float, before: float, real: float, fake: float, after: float
) -> None:
    state = magan.State(margin=margin, fake_before=before)
    for off in (-0.1, 0.1):
        state = magan.advance(state, real=real + off, fake=fake - off)
    state = magan.end_epoch(state)
    assert state.margin == pytest.approx(after)
    assert state.fake_before == pytest.approx(fake)
    assert (state.updates, state.real_sum, state.fake_sum) == (0, 0.0, 0.0)
    assert magan.end_epoch(state) == state  # an epoch of warm-up alone tells nothing


class Halving:
    """An autoencoder that halves all: energies are squares of halves."""

    def __call__(self, x: Tensor, z: Tensor) -> Rebuilt:
        return Rebuilt(x=x / 2, z=z / 2, code=x)


def pairs() -> tuple[Pair, Pair]:
    real = Pair(x=torch.ones(2, 3), z=torch.full((2, 1), 2.0, requires_grad=True))
    return real, Pair(x=torch.ones(2, 3).requires_grad_(), z=torch.ones(2, 1))


@pytest.mark.parametrize("objective", [ebgan.OBJECTIVE, began.OBJECTIVE, magan.OBJECTIVE])
def test_each_half_moves_its_own(objective: Any) -> None:
    real, fake = pairs()
    ready = objective.restored({"fake": 9.0} if objective is began.OBJECTIVE else {"margin": 9.0})
    terms = ready.pair_terms(Halving(), real=real, fake=fake)
    for term, moved, still in (("generator", fake.x, real.z), ("encoder", real.z, fake.x)):
        found = torch.autograd.grad(terms[term], (moved, still), allow_unused=True)
        assert found[0] is not None
        assert found[0].abs().max() > 0
        assert found[1] is None


def test_the_critic_warms_up_on_reals_alone_and_then_plays() -> None:
    real, fake = pairs()
    objective = ebgan.OBJECTIVE.with_settings({"warmup": 1, "ratio": 2.0})
    terms = objective.critic_terms(Halving(), real=real, fake=fake)
    # real: (1/2)^2 + (2/2)^2 = 1.25, fake: 0.25 + 0.25 = 0.5
    assert terms.loss.item() == pytest.approx(1.25)
    assert terms.figures["energy_fake"].item() == pytest.approx(0.5)
    objective = objective.after(terms.figures)
    assert not objective.warming
    assert objective.shown() == {"margin": pytest.approx(2.5)}
    terms = objective.critic_terms(Halving(), real=real, fake=fake)
    assert terms.loss.item() == pytest.approx(1.25 + (2.5 - 0.5))
    assert objective.after(terms.figures) == objective


@pytest.mark.parametrize("objective", [ebgan.OBJECTIVE, began.OBJECTIVE, magan.OBJECTIVE])
def test_a_state_comes_back_from_plain_numbers(objective: Any) -> None:
    moved = objective.with_settings({"latent_weight": 3}).after(
        {"energy_real": torch.tensor(0.7), "energy_fake": torch.tensor(0.3)}
    )
    saved = moved.saved()
    assert all(type(value) in (int, float) for value in saved.values())
    assert objective.with_settings({"latent_weight": 3}).restored(saved) == moved
    assert objective.restored({}) == objective


def test_wrong_settings_are_refused() -> None:
    with pytest.raises(UnknownName, match="diversity, gain, latent_weight"):
        began.OBJECTIVE.with_settings({"gamma": 1})
    with pytest.raises(BadConfig, match=r"\(0, 1\]"):
        began.OBJECTIVE.with_settings({"diversity": 0})
    with pytest.raises(BadConfig, match="not be negative"):
        ebgan.OBJECTIVE.with_settings({"warmup": -1})
