"""The non-saturating GAN against cross-entropies worked out by numpy and scikit-learn."""

import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss

from models import objectives
from models.errors import UnknownName
from models.objectives import gan

REAL, FAKE = [1.0, 3.0, -2.0], [0.0, 2.0]
GAN = gan.OBJECTIVE


def sigmoid(values: list[float]) -> np.ndarray:
    return np.array([1 / (1 + np.exp(-value)) for value in values])


def test_the_critic_pays_the_cross_entropy_of_both_halves() -> None:
    expected = log_loss([1] * 3, sigmoid(REAL), labels=[0, 1])
    expected += log_loss([0] * 2, sigmoid(FAKE), labels=[0, 1])
    loss = GAN.critic_loss(real=torch.tensor(REAL), fake=torch.tensor(FAKE))
    assert loss.item() == pytest.approx(expected, rel=1e-6)


def test_smoothing_moves_both_targets() -> None:
    real, fake = sigmoid(REAL), sigmoid(FAKE)
    expected = -np.mean(0.95 * np.log(real) + 0.05 * np.log(1 - real))
    expected -= np.mean(0.05 * np.log(fake) + 0.95 * np.log(1 - fake))
    loss = GAN.critic_loss(real=torch.tensor(REAL), fake=torch.tensor(FAKE), smoothing=0.05)
    assert loss.item() == pytest.approx(expected, rel=1e-6)


def test_g_and_e_aim_at_the_other_label() -> None:
    generator = GAN.generator_loss(fake=torch.tensor(FAKE)).item()
    encoder = GAN.encoder_loss(real=torch.tensor(REAL)).item()
    assert generator == pytest.approx(-np.log(sigmoid(FAKE)).mean(), rel=1e-6)
    assert encoder == pytest.approx(-np.log(1 - sigmoid(REAL)).mean(), rel=1e-6)


def test_certain_scores_stay_finite() -> None:
    scores = torch.tensor([1e4, -1e4])
    assert GAN.critic_loss(real=scores, fake=scores).item() == pytest.approx(1e4)
    assert GAN.generator_loss(fake=scores).item() == pytest.approx(5e3)


def test_a_wrong_name_lists_the_known_ones() -> None:
    with pytest.raises(UnknownName, match=r"choose from: began, cramer, .*, wgan-gp"):
        objectives.find("wgangp")


def test_one_sided_smoothing_moves_the_reals_target_alone() -> None:
    import math

    loss = GAN.critic_loss(
        real=torch.tensor([0.4]), fake=torch.tensor([-0.3]), smoothing=0.05, smoothing_real=0.1
    )
    real, fake = 1 / (1 + math.exp(-0.4)), 1 / (1 + math.exp(0.3))
    expected = -0.85 * math.log(real) - 0.15 * math.log(1 - real)
    expected += -0.05 * math.log(fake) - 0.95 * math.log(1 - fake)
    assert loss.item() == pytest.approx(expected, rel=1e-5)
