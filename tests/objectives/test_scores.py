"""The score family against values worked out by hand; real scores 1, 3, fake scores 0, 2."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from models import objectives
from models.objectives import fisher, lsgan
from models.objectives.fisher import Settings, State
from models.objectives.objective import Objective, Pair
from models.objectives.score import ScoreObjective

REAL, FAKE = torch.tensor([1.0, 3.0]), torch.tensor([0.0, 2.0])


def sp(value: float) -> float:
    return math.log(1 + math.exp(value))


LOGISTIC = (sp(-1) + sp(-3) + sp(0) + sp(2)) / 2


@pytest.mark.parametrize(
    ("name", "critic", "generator", "encoder"),
    [
        ("saturating", LOGISTIC, -(sp(0) + sp(2)) / 2, -(sp(-1) + sp(-3)) / 2),
        ("gan", LOGISTIC, (sp(0) + sp(-2)) / 2, (sp(1) + sp(3)) / 2),
        ("linear", LOGISTIC, -1.0, 2.0),
        # lsgan: ((0 + 4) / 2 + (0 + 4) / 2) / 2, (1 + 1) / 2 / 2, (1 + 9) / 2 / 2
        ("lsgan", 2.0, 0.5, 2.5),
        # hinge: (0 + 0) / 2 + (1 + 3) / 2
        ("hinge", 2.0, -1.0, 2.0),
        ("wgan", -1.0, -1.0, 2.0),
        ("wgan-gp", -1.0, -1.0, 2.0),
        ("rwgan", -1.0, -1.0, 2.0),
    ],
)
def test_losses_equal_the_values_worked_out_by_hand(
    name: str, critic: float, generator: float, encoder: float
) -> None:
    objective = objectives.find(name)
    assert isinstance(objective, ScoreObjective)
    assert objective.critic_loss(real=REAL, fake=FAKE).item() == pytest.approx(critic)
    assert objective.generator_loss(fake=FAKE).item() == pytest.approx(generator)
    assert objective.encoder_loss(real=REAL).item() == pytest.approx(encoder)


def test_hinge_pays_for_reals_inside_the_margin() -> None:
    scores = {"real": torch.tensor([-1.0, 0.5, 2.0]), "fake": torch.tensor([-3.0, -0.5])}
    objective: Any = objectives.find("hinge")
    assert objective.critic_loss(**scores).item() == pytest.approx(2.5 / 3 + 0.5 / 2)


def test_smoothing_moves_the_targets_of_least_squares() -> None:
    loss = lsgan.critic_loss(real=REAL, fake=FAKE, smoothing=0.1)
    expected = (0.1**2 + 2.1**2) / 2 + (0.1**2 + 1.9**2) / 2
    assert loss.item() == pytest.approx(expected / 2)


def test_one_sided_smoothing_moves_the_target_of_reals_alone() -> None:
    loss = lsgan.critic_loss(real=REAL, fake=FAKE, smoothing_real=0.1)
    assert loss.item() == pytest.approx(((0.1**2 + 2.1**2) / 2 + (0 + 4) / 2) / 2)


@pytest.mark.parametrize("name", ["hinge", "wgan", "wgan-gp", "rwgan"])
def test_what_has_no_targets_has_none_to_smooth(name: str) -> None:
    objective: Any = objectives.find(name)
    with pytest.raises(ValueError, match="no targets"):
        objective.critic_loss(real=REAL, fake=FAKE, smoothing=0.1)


def test_fisher_is_the_lagrangian_worked_out_by_hand() -> None:
    state = State(settings=Settings(rho=0.5), alpha=0.3)
    # second moment (1 + 9) / 4 + (0 + 4) / 4 = 3.5, slack -2.5, gap 2 - 1
    lagrangian = 1 + 0.3 * -2.5 - 0.25 * 6.25
    loss = fisher.critic_loss(state, real=REAL, fake=FAKE)
    assert loss.item() == pytest.approx(-lagrangian)
    assert fisher.second_moment(real=REAL, fake=FAKE).item() == pytest.approx(3.5)


def test_fishers_multiplier_climbs_while_the_scores_are_too_large() -> None:
    state = fisher.advance(State(settings=Settings(rho=0.5), alpha=0.3), moment=3.5)
    assert state.alpha == pytest.approx(0.3 - 0.5 * (1 - 3.5))
    assert fisher.advance(state, moment=1.0) == state


def linear_critic(x: Tensor, z: Tensor) -> Tensor:
    return x.sum(1) + 2 * z.sum(1)


def pairs() -> tuple[Tensor, Tensor, Pair, Pair]:
    """The codes E gave and the samples G gave, with the pairs they are part of."""
    rng = torch.Generator().manual_seed(0)
    code = torch.randn(4, 2, generator=rng).requires_grad_()
    sample = torch.randn(4, 3, generator=rng).requires_grad_()
    real = Pair(x=torch.randn(4, 3, generator=rng), z=code)
    return code, sample, real, Pair(x=sample, z=torch.randn(4, 2, generator=rng))


SCORED = [
    pytest.param(name, objective, id=name)
    for name, objective in objectives.OBJECTIVES.items()
    if isinstance(objective, ScoreObjective | fisher.FisherObjective)
]


@pytest.mark.parametrize(("name", "objective"), SCORED)
def test_each_half_moves_its_own(name: str, objective: Objective) -> None:
    code, sample, real, fake = pairs()
    terms = objective.pair_terms(linear_critic, real=real, fake=fake)
    assert set(terms) == {"generator", "encoder"}
    for term, moved, still in (("generator", sample, code), ("encoder", code, sample)):
        found = torch.autograd.grad(terms[term], (moved, still), allow_unused=True)
        assert found[0] is not None
        assert found[0].abs().max() > 0
        assert found[1] is None


def test_g_and_e_see_nothing_of_fishers_constraint() -> None:
    code, sample, real, fake = pairs()
    objective = fisher.FisherObjective(state=State(settings=Settings(rho=10.0), alpha=7.0))
    terms = objective.pair_terms(linear_critic, real=real, fake=fake)
    (by_sample,) = torch.autograd.grad(terms["generator"], sample)
    (by_code,) = torch.autograd.grad(terms["encoder"], code)
    torch.testing.assert_close(by_sample, torch.full((4, 3), -1 / 4))  # -c(f) and no more
    torch.testing.assert_close(by_code, torch.full((4, 2), 2 / 4))


def test_fisher_advances_by_what_the_critic_saw() -> None:
    _, _, real, fake = pairs()
    objective = fisher.OBJECTIVE.with_settings({"rho": 0.1})
    terms = objective.critic_terms(linear_critic, real=real, fake=fake)
    after = objective.after({**terms.figures, "joint": terms.loss})
    moment = linear_critic(*real).square().mean() / 2 + linear_critic(*fake).square().mean() / 2
    assert after.state.alpha == pytest.approx(-0.1 * (1 - moment.item()), rel=1e-5)
    assert objective.restored(after.saved()) == after
    assert objective.restored({}) == objective
