"""ALAD, AAE, MRGAN and f-AnoGAN: losses recomputed by hand."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from games import GAN, Sum, build, config, rng, softplus, turn
from models.pairings.pairing import given

Networks = tuple[nn.Module, nn.Module]


def test_alad_judges_pairs_and_both_cycles(pair: Networks, x: Tensor, z: Tensor) -> None:
    encoder, generator = pair
    weights = {"critic_image": 2.0, "critic_latent": 3.0}
    alad = build("alad", weights=weights)
    critics = alad.build_critics(config("alad", weights=weights).model)
    batch = alad.forward(encoder, generator, x, z, rng())
    code, sample = encoder(x), generator(z)
    again, cycle = generator(code), encoder(sample)
    joint = critics["joint"](x, code), critics["joint"](sample, z)
    image = [critics["image"](torch.cat([x, other], 1)) for other in (x, again)]
    latent = [critics["latent"](torch.cat([z, other], 1)) for other in (z, cycle)]
    critic = alad.critic_loss(critics, batch.detached(), GAN, turn())
    expected = sum(
        softplus(-real).mean() + softplus(fake).mean() for real, fake in (joint, image, latent)
    )
    assert critic["total"].item() == pytest.approx(expected, rel=1e-5)
    both = alad.pair_loss(critics, batch, GAN, turn())
    game = softplus(-joint[1]).mean() + softplus(joint[0]).mean()
    cycles = 2 * softplus(-image[1]).mean() + 3 * softplus(-latent[1]).mean()
    assert both["total"].item() == pytest.approx(game + cycles, rel=1e-5)


def test_alad_sees_two_images_side_by_side_in_their_channels() -> None:
    model = {"network": "dcgan", "image": [16, 16, 3], "vector": None, "width": 4}
    critics = build("alad", model=model).build_critics(config("alad", model=model).model)
    first = next(part for part in critics["image"].modules() if isinstance(part, nn.Conv2d))
    assert first.in_channels == 6


def test_aae_reconstructs_and_holds_codes_to_the_prior(
    pair: Networks, x: Tensor, z: Tensor
) -> None:
    encoder, generator = pair
    aae = build("aae", weights={"image": 4.0, "image_squared": 3.0, "critic_latent": 0.5})
    critics = nn.ModuleDict({"latent": Sum()})
    batch = aae.forward(encoder, generator, x, z, rng())
    code = encoder(x)
    critic = aae.critic_loss(critics, batch.detached(), GAN, turn())
    expected = softplus(-z.sum(1)).mean() + softplus(code.sum(1)).mean()
    assert critic["total"].item() == pytest.approx(expected, rel=1e-5)
    losses = aae.pair_loss(critics, batch, GAN, turn())
    residual = (x - generator(code)).detach().numpy()
    images = 4 * np.abs(residual).mean() + 3 * np.square(residual).mean()
    expected = images + 0.5 * softplus(-code.sum(1)).mean()
    assert losses["total"].item() == pytest.approx(expected, rel=1e-5)


def test_aae_is_aegan_with_terms_off(pair: Networks, x: Tensor, z: Tensor) -> None:
    off = {"latent": 0.0, "critic_image": 0.0, "smoothing": 0.0}
    critics = nn.ModuleDict({"image": Sum(), "latent": Sum()})
    aegan, aae = build("aegan", weights=off), build("aae")
    of_aegan = aegan.pair_loss(critics, aegan.forward(*pair, x, z, rng()), GAN, turn())
    of_aae = aae.pair_loss(critics, aae.forward(*pair, x, z, rng()), GAN, turn())
    rest = of_aegan["total"] - of_aegan["cycle"]  # E(G(z)) is a fake of D_z in AEGAN alone
    torch.testing.assert_close(rest, of_aae["total"])


def test_mrgan_praises_reconstructions_and_shows_its_critic_none(
    pair: Networks, x: Tensor, z: Tensor
) -> None:
    encoder, generator = pair
    mrgan, critics = build("mrgan"), nn.ModuleDict({"image": Sum()})
    batch = mrgan.forward(encoder, generator, x, z, rng())
    sample, again = generator(z), generator(encoder(x))
    critic = mrgan.critic_loss(critics, batch.detached(), GAN, turn())
    expected = softplus(-x.sum(1)).mean() + softplus(sample.sum(1)).mean()
    assert critic["total"].item() == pytest.approx(expected, rel=1e-5)
    losses = mrgan.pair_loss(critics, batch, GAN, turn())
    near = np.square((x - again).detach().numpy()).mean()
    expected = softplus(-sample.sum(1)).mean() + 0.2 * near + 0.4 * softplus(-again.sum(1)).mean()
    assert losses["total"].item() == pytest.approx(expected, rel=1e-5)


def test_fanogan_plays_a_plain_gan_and_asks_e_nothing(pair: Networks, x: Tensor, z: Tensor) -> None:
    class Never(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise AssertionError("E was asked")

    _, generator = pair
    fanogan, critics = build("fanogan"), nn.ModuleDict({"image": Sum()})
    batch = fanogan.forward(Never(), generator, x, z, rng())
    sample = given(batch.sample).sum(1)
    critic = fanogan.critic_loss(critics, batch.detached(), GAN, turn())
    expected = softplus(-x.sum(1)).mean() + softplus(sample).mean()
    assert critic["total"].item() == pytest.approx(expected, rel=1e-5)
    losses = fanogan.pair_loss(critics, batch, GAN, turn())
    assert losses["total"].item() == pytest.approx(softplus(-sample).mean(), rel=1e-5)
