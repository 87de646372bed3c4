"""Who plays against whom: losses recomputed by hand, and which weights each of them moves."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from games import GAN, Sum, build, config, gradients, rng, softplus, turn
from models import pairings, regularisers
from models.errors import BadConfig, UnknownName
from models.objectives import cramer, gan, gmmn
from models.objectives.objective import Pair
from models.pairings.pairing import Pass, given
from models.regularisers.gradient_penalty import gradient_penalty


def test_bigan_scores_x_with_its_code_and_z_with_its_sample(
    pair: tuple[nn.Module, nn.Module], x: Tensor, z: Tensor
) -> None:
    encoder, generator = pair
    bigan = build("bigan")
    critics = bigan.build_critics(config("bigan").model)
    batch = bigan.forward(encoder, generator, x, z, rng())
    real, fake = critics["joint"](x, encoder(x)), critics["joint"](generator(z), z)
    critic = bigan.critic_loss(critics, batch.detached(), GAN, turn())
    both = bigan.pair_loss(critics, batch, GAN, turn())
    assert critic["total"].item() == pytest.approx(
        softplus(-real).mean() + softplus(fake).mean(), rel=1e-5
    )
    assert both["generator"].item() == pytest.approx(softplus(-fake).mean(), rel=1e-5)
    assert both["encoder"].item() == pytest.approx(softplus(real).mean(), rel=1e-5)
    assert both["total"].item() == pytest.approx(
        both["generator"].item() + both["encoder"].item(), rel=1e-6
    )


def test_bigan_moves_g_by_its_half_and_e_by_the_other(
    pair: tuple[nn.Module, nn.Module], x: Tensor, z: Tensor
) -> None:
    encoder, generator = pair
    bigan = build("bigan")
    critics = bigan.build_critics(config("bigan").model)
    losses = bigan.pair_loss(critics, bigan.forward(encoder, generator, x, z, rng()), GAN, turn())
    assert gradients(losses["generator"], encoder) == [None, None]
    assert gradients(losses["encoder"], generator) == [None, None]
    for loss, network in (("generator", generator), ("encoder", encoder)):
        for gradient in gradients(losses[loss], network):
            assert gradient is not None
            assert gradient.abs().max() > 0


def test_bigan_adds_the_penalty_to_the_critic_alone(
    pair: tuple[nn.Module, nn.Module], x: Tensor, z: Tensor
) -> None:
    encoder, generator = pair
    more = {"regularisers": {"pairwise": 0.5}}
    bigan = build("bigan", **more)
    critics = bigan.build_critics(config("bigan", **more).model)
    batch = bigan.forward(encoder, generator, x, z, rng())
    assert batch.reconstruction is not None
    torch.testing.assert_close(batch.reconstruction, generator(encoder(x)))
    losses = bigan.critic_loss(critics, batch.detached(), GAN, turn())
    assert losses["pairwise"].item() > 0
    assert losses["total"].item() == pytest.approx(
        losses["joint"].item() + 0.5 * losses["pairwise"].item(), rel=1e-6
    )
    assert set(bigan.pair_loss(critics, batch, GAN, turn())) == {"generator", "encoder", "total"}


def test_bigan_adds_r1_on_its_real_pairs(
    pair: tuple[nn.Module, nn.Module], x: Tensor, z: Tensor
) -> None:
    encoder, generator = pair
    bigan = build("bigan", regularisers={"r1": 2.0})
    torch.manual_seed(0)
    x_slope, z_slope = torch.randn(3), torch.randn(2)

    class Plane(nn.Module):
        def forward(self, x: Tensor, z: Tensor) -> Tensor:
            return x @ x_slope + z @ z_slope

    batch = bigan.forward(encoder, generator, x, z, rng())
    losses = bigan.critic_loss(nn.ModuleDict({"joint": Plane()}), batch.detached(), GAN, turn())
    squares = (x_slope.numpy() ** 2).sum() + (z_slope.numpy() ** 2).sum()
    assert losses["r1"].item() == pytest.approx(squares / 2, rel=1e-5)
    assert losses["total"].item() == pytest.approx(losses["joint"].item() + squares, rel=1e-5)


def test_bigan_holds_the_slope_of_what_the_objective_names(
    pair: tuple[nn.Module, nn.Module], x: Tensor, z: Tensor
) -> None:
    more = {"regularisers": {"gradient": 0.5}}
    made = config("bigan", **more)
    for objective in (gan.OBJECTIVE, cramer.OBJECTIVE):
        penalties = regularisers.parse(made.regularisers)
        bigan = pairings.build(made, penalties, objective.head)
        critics = bigan.build_critics(made.model)
        batch = bigan.forward(*pair, x, z, rng()).detached()
        losses = bigan.critic_loss(critics, batch, objective, turn())
        real, fake = Pair(x=x, z=given(batch.code)), Pair(x=given(batch.sample), z=z)
        witness = objective.critic_terms(critics["joint"], real=real, fake=fake).witness
        assert witness is not None
        expected = gradient_penalty(witness, real=real, fake=fake, rng=rng())
        assert losses["gradient"].item() == pytest.approx(expected.item(), rel=1e-6)
        total = losses["joint"].item() + 0.5 * expected.item()
        assert losses["total"].item() == pytest.approx(total, rel=1e-6)


def test_bigan_adds_up_whatever_parts_an_objective_has(
    pair: tuple[nn.Module, nn.Module], x: Tensor, z: Tensor
) -> None:
    made = config("bigan")
    bigan = pairings.build(made, regularisers.parse({}), gmmn.OBJECTIVE.head)
    critics = bigan.build_critics(made.model)
    losses = bigan.pair_loss(critics, bigan.forward(*pair, x, z, rng()), gmmn.OBJECTIVE, turn())
    assert set(losses) == {"match", "total"}
    assert losses["total"].item() == losses["match"].item()


def test_bigan_can_add_both_reconstructions(
    pair: tuple[nn.Module, nn.Module], x: Tensor, z: Tensor
) -> None:
    encoder, generator = pair
    more = {"weights": {"image": 2.0, "latent": 3.0}}
    bigan = build("bigan", **more)
    critics = bigan.build_critics(config("bigan", **more).model)
    losses = bigan.pair_loss(critics, bigan.forward(encoder, generator, x, z, rng()), GAN, turn())
    image = (x - generator(encoder(x))).abs().mean().item()
    latent = ((z - encoder(generator(z))) ** 2).mean().item()
    game = losses["generator"].item() + losses["encoder"].item()
    assert losses["total"].item() == pytest.approx(game + 2 * image + 3 * latent, rel=1e-5)


def test_aegan_shows_each_critic_both_of_its_fakes(
    pair: tuple[nn.Module, nn.Module], x: Tensor, z: Tensor
) -> None:
    encoder, generator = pair
    aegan = build("aegan")
    critics = nn.ModuleDict({"image": Sum(), "latent": Sum()})
    batch = aegan.forward(encoder, generator, x, z, rng())
    code, sample = encoder(x), generator(z)
    again, cycle = generator(code), encoder(sample)
    loss = aegan.critic_loss(critics, batch.detached(), GAN, turn())

    def smoothed(values: Tensor, target: float) -> float:
        score = values.detach().numpy().astype(np.float64).sum(1)
        s = 1 / (1 + np.exp(-score))
        return float(-np.mean(target * np.log(s) + (1 - target) * np.log(1 - s)))

    image = smoothed(x, 0.95) + (smoothed(sample, 0.05) + smoothed(again, 0.05)) / 2
    latent = smoothed(z, 0.95) + (smoothed(code, 0.05) + smoothed(cycle, 0.05)) / 2
    assert loss["critic_image"].item() == pytest.approx(image, rel=1e-5)
    assert loss["critic_latent"].item() == pytest.approx(latent, rel=1e-5)
    assert loss["total"].item() == pytest.approx(image + latent, rel=1e-5)


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_aegan_can_show_its_critic_less_of_the_reconstructions(
    pair: tuple[nn.Module, nn.Module], x: Tensor, z: Tensor, share: float
) -> None:
    aegan = build("aegan", weights={"critic_reconstruction": share, "smoothing": 0, "latent": 0})
    seen: list[int] = []

    class Watched(Sum):
        def forward(self, sample: Tensor) -> Tensor:
            seen.append(len(sample))
            return super().forward(sample)

    critics = nn.ModuleDict({"image": Watched(), "latent": Sum()})
    batch = aegan.forward(*pair, x, z, rng())
    real, sample, again = (
        part.sum(1) for part in (x, given(batch.sample), given(batch.reconstruction))
    )
    loss = aegan.critic_loss(critics, batch.detached(), GAN, turn())["critic_image"].item()
    fakes = softplus(sample).mean() + share * softplus(again).mean()
    assert loss == pytest.approx(softplus(-real).mean() + fakes / (1 + share), rel=1e-5)
    losses = aegan.pair_loss(critics, batch, GAN, turn())
    fooled = softplus(-sample).mean() + share * softplus(-again).mean()
    rest = losses["code"].item() + losses["cycle"].item() + 10 * losses["image"].item()
    assert losses["total"].item() == pytest.approx(fooled + rest, rel=1e-5)
    assert seen == ([15, 10] if share else [10, 5])  # nothing is scored for nothing


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_aegan_can_spare_g_the_gradient_of_the_code_cycle(
    pair: tuple[nn.Module, nn.Module], x: Tensor, z: Tensor, share: float
) -> None:
    encoder, generator = pair

    def found(share: float) -> dict[str, list[Tensor | None]]:
        aegan = build("aegan", weights={"cycle_to_generator": share})
        critics = nn.ModuleDict({"image": Sum(), "latent": Sum()})
        losses = aegan.pair_loss(
            critics, aegan.forward(encoder, generator, x, z, rng()), GAN, turn()
        )
        return {
            f"{name} {part}": gradients(losses[name], network)
            for name in ("latent", "cycle", "sample", "image")
            for part, network in (("e", encoder), ("g", generator))
        }

    whole, spared = found(1.0), found(share)
    for name, gradient in whole.items():
        factor = share if name in ("latent g", "cycle g") else 1
        for ours, theirs in zip(spared[name], gradient, strict=True):
            if ours is None or theirs is None:
                assert ours is theirs
            else:
                torch.testing.assert_close(ours, factor * theirs)


def test_aegan_adds_r1_to_its_critic_of_images_now_and_then(
    pair: tuple[nn.Module, nn.Module], x: Tensor, z: Tensor
) -> None:
    aegan = build("aegan", regularisers={"r1": {"weight": 2.0, "every": 3}})
    critics = nn.ModuleDict({"image": Sum(), "latent": Sum()})
    batch = aegan.forward(*pair, x, z, rng()).detached()
    for update in range(6):
        losses = aegan.critic_loss(critics, batch, GAN, turn(update))
        game = losses["critic_image"].item() + losses["critic_latent"].item()
        penalty = 2 * 3 * 3 / 2 if update in (2, 5) else 0  # the slope is 1 in each of 3 numbers
        assert losses["total"].item() == pytest.approx(game + penalty, rel=1e-5)
        assert ("r1" in losses) == (update in (2, 5))


def test_aegan_weighs_ten_and_five_on_means(
    pair: tuple[nn.Module, nn.Module], x: Tensor, z: Tensor
) -> None:
    encoder, generator = pair
    aegan = build("aegan")
    critics = nn.ModuleDict({"image": Sum(), "latent": Sum()})
    losses = aegan.pair_loss(critics, aegan.forward(encoder, generator, x, z, rng()), GAN, turn())
    code, sample = encoder(x), generator(z)
    again, cycle = generator(code), encoder(sample)
    adversarial = sum(softplus(-fake.sum(1)).mean() for fake in (sample, again, code, cycle))
    image = np.abs((x - again).detach().numpy()).mean()
    latent = np.square((z - cycle).detach().numpy()).mean()
    assert losses["total"].item() == pytest.approx(adversarial + 10 * image + 5 * latent, rel=1e-5)


def test_a_detached_pass_leads_nowhere(
    pair: tuple[nn.Module, nn.Module], x: Tensor, z: Tensor
) -> None:
    batch: Pass = build("aegan").forward(*pair, x, z, rng()).detached()
    for part in (batch.code, batch.sample, batch.reconstruction, batch.cycle):
        assert not given(part).requires_grad


@pytest.mark.parametrize(
    ("pairing", "more", "error", "why"),
    [
        (
            "cyclegan",
            {},
            UnknownName,
            "choose from: aae, aegan, alad, ali, bigan, fanogan, mrgan, vaegan",
        ),
        ("aegan", {"weights": {"pixels": 1.0}}, UnknownName, "critic_image"),
        ("bigan", {"weights": {"image": -1.0}}, BadConfig, "negative"),
    ],
)
def test_what_does_not_go_together_is_refused(
    pairing: str, more: dict[str, Any], error: type[Exception], why: str
) -> None:
    with pytest.raises(error, match=why):
        build(pairing, **more)
