"""ALI and VAE/GAN: what is drawn, what it costs, and who learns from it."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from games import GAN, Sum, build, config, gradients, rng, softplus, turn
from models import networks
from models.networks.gaussian import Gaussian, GaussianEncoder, gaussian_of
from models.networks.joint import Critic
from models.pairings.pairing import given


@pytest.fixture
def encoder() -> GaussianEncoder:
    torch.manual_seed(0)
    return GaussianEncoder(nn.Linear(3, 4))


@pytest.fixture
def generator() -> nn.Module:
    torch.manual_seed(1)
    return nn.Linear(2, 3)


def test_a_draw_is_the_mean_and_sigma_times_noise(encoder: GaussianEncoder, x: Tensor) -> None:
    numbers = encoder.body(x).detach().numpy()
    mean, log_sigma = numbers[:, :2], numbers[:, 2:]
    noise = torch.randn(5, 2, generator=rng()).numpy()
    drawn = encoder.gaussian(x).sample(rng()).detach().numpy()
    np.testing.assert_allclose(drawn, mean + np.exp(log_sigma) * noise, rtol=1e-5)
    np.testing.assert_allclose(encoder(x).detach().numpy(), mean, rtol=1e-6)  # what is served


def test_log_sigma_stays_between_its_bounds() -> None:
    body = nn.Linear(1, 2, bias=False)
    with torch.no_grad():
        body.weight.copy_(torch.tensor([[0.0], [1.0]]))
    found = GaussianEncoder(body).gaussian(torch.tensor([[-50.0], [0.5], [50.0]])).log_sigma
    assert found.flatten().tolist() == [-7, 0.5, 2]


def test_the_divergence_is_that_of_two_normal_distributions() -> None:
    gaussian = Gaussian(
        mean=torch.tensor([[1.0, -2.0], [0.0, 0.0]]),
        log_sigma=torch.tensor([[0.5, -1.0], [0.0, 0.0]]),
    )
    # log(1 / s) + (s^2 + m^2) / 2 - 1 / 2 for each dimension; the second row is the prior itself
    first = -0.5 + (math.exp(1) + 1) / 2 - 0.5 + 1 + (math.exp(-2) + 4) / 2 - 0.5
    assert gaussian.divergence().item() == pytest.approx(first / 2, rel=1e-6)


def test_a_plain_encoder_is_refused(x: Tensor) -> None:
    with pytest.raises(TypeError, match="Linear gives points"):
        gaussian_of(nn.Linear(3, 2), x)


def test_ali_scores_a_draw_and_reports_log_sigma(
    encoder: GaussianEncoder, generator: nn.Module, x: Tensor, z: Tensor
) -> None:
    ali = build("ali")
    critics = ali.build_critics(config("ali").model)
    batch = ali.forward(encoder, generator, x, z, rng())
    code = encoder.gaussian(x).sample(rng())
    real, fake = critics["joint"](x, code), critics["joint"](generator(z), z)
    both = ali.pair_loss(critics, batch, GAN, turn())
    assert both["generator"].item() == pytest.approx(softplus(-fake).mean(), rel=1e-5)
    assert both["encoder"].item() == pytest.approx(softplus(real).mean(), rel=1e-5)
    total = both["generator"].item() + both["encoder"].item()
    assert both["total"].item() == pytest.approx(total, rel=1e-6)  # log sigma is no loss
    expected = encoder.gaussian(x).log_sigma.mean().item()
    assert both["log_sigma"].item() == pytest.approx(expected)
    critic = ali.critic_loss(critics, batch.detached(), GAN, turn())
    assert critic["total"].item() == pytest.approx(
        softplus(-real).mean() + softplus(fake).mean(), rel=1e-5
    )


class Seen(nn.Module):
    """Features that can be worked out: twice the item."""

    def forward(self, x: Tensor) -> Tensor:
        return 2 * x


def critic() -> nn.ModuleDict:
    torch.manual_seed(2)
    return nn.ModuleDict({"image": Critic(Seen(), 3)})


def test_vaegan_adds_up_as_its_algorithm_says(
    encoder: GaussianEncoder, generator: nn.Module, x: Tensor, z: Tensor
) -> None:
    weights = {"divergence": 0.5, "feature": 2.0, "feature_generator": 0.25}
    vaegan, critics = build("vaegan", weights=weights), critic()
    batch = vaegan.forward(encoder, generator, x, z, rng())
    again = generator(encoder.gaussian(x).sample(rng()))
    losses = vaegan.pair_loss(critics, batch, GAN, turn())
    distance = (np.square(2 * (x - again).detach().numpy()).sum(1) / 2).mean()
    assert losses["feature"].item() == pytest.approx(distance, rel=1e-5)
    assert losses["feature_generator"].item() == pytest.approx(distance, rel=1e-5)
    fooled = softplus(-critics["image"](generator(z))).mean()
    fooled += softplus(-critics["image"](again)).mean()
    expected = 0.5 * encoder.gaussian(x).divergence().item() + 2.25 * distance + fooled
    assert losses["total"].item() == pytest.approx(expected, rel=1e-5)


def test_vaegans_critic_counts_reals_twice(
    encoder: GaussianEncoder, generator: nn.Module, x: Tensor, z: Tensor
) -> None:
    vaegan = build("vaegan")
    batch = vaegan.forward(encoder, generator, x, z, rng()).detached()
    total = vaegan.critic_loss(nn.ModuleDict({"image": Sum()}), batch, GAN, turn())["total"]
    fakes = softplus(given(batch.sample).sum(1)).mean()
    fakes += softplus(given(batch.reconstruction).sum(1)).mean()
    expected = 2 * softplus(-x.sum(1)).mean() + fakes
    assert total.item() == pytest.approx(expected, rel=1e-5)


def test_vaegans_encoder_feels_the_features_as_if_nothing_were_cut(
    encoder: GaussianEncoder, generator: nn.Module, x: Tensor, z: Tensor
) -> None:
    vaegan, critics = build("vaegan"), critic()
    batch = vaegan.forward(encoder, generator, x, z, rng())
    losses = vaegan.pair_loss(critics, batch, GAN, turn())
    again = generator(encoder.gaussian(x).sample(rng()))  # one graph, end to end
    whole = (2 * (x - again)).square().sum(1).mean() / 2
    pairs = ((losses["feature"], encoder), (losses["feature_generator"], generator))
    for loss, network in pairs:
        for ours, theirs in zip(gradients(loss, network), gradients(whole, network), strict=True):
            torch.testing.assert_close(ours, theirs)


def test_a_whole_network_serves_the_mean_without_noise() -> None:
    made = config("ali").model
    encoder = networks.build_encoder(made).train()
    x = torch.randn(4, 3)
    torch.testing.assert_close(encoder(x), encoder(x), rtol=0, atol=0)
    assert encoder(x).shape == (4, 2)
