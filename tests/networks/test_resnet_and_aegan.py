"""The residual family and the article's: layers, sizes, and who may see whom."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from models import networks
from models.config import ModelConfig
from models.errors import BadConfig
from models.networks import aegan, resnet
from models.networks.heads import Autoencoder

FAMILIES = ("resnet", "aegan")


def model(network: str, image: tuple[int, int, int] = (32, 32, 3), **more: Any) -> ModelConfig:
    return replace(ModelConfig(network=network, image=image, latent=6, width=4), **more)


def convolutions(network: nn.Module) -> list[nn.Conv2d]:
    return [part for part in network.modules() if isinstance(part, nn.Conv2d)]


@pytest.mark.parametrize("network", FAMILIES)
@pytest.mark.parametrize("image", [(32, 32, 1), (48, 48, 2), (64, 32, 3), (40, 56, 3)])
def test_g_and_e_map_between_images_and_codes(network: str, image: tuple[int, int, int]) -> None:
    made = model(network, image)
    x = torch.rand(3, image[2], *image[:2]) * 2 - 1
    for prior in ("normal", "uniform"):
        codes = networks.build_encoder(replace(made, prior=prior))(50 * x)
        assert codes.shape == (3, 6)
        assert (codes.abs().max() <= 1) or prior == "normal"
    fakes = networks.build_generator(made)(torch.randn(3, 6))
    assert fakes.shape == x.shape
    assert fakes.abs().max() <= 1


@pytest.mark.parametrize("network", FAMILIES)
def test_256_pixels_are_the_most(network: str) -> None:
    made = model(network, (256, 256, 1), width=1)
    with torch.no_grad():
        assert networks.build_encoder(made)(torch.zeros(2, 1, 256, 256)).shape == (2, 6)
        assert networks.build_generator(made)(torch.zeros(2, 6)).shape == (2, 1, 256, 256)


@pytest.mark.parametrize(
    ("network", "image", "why"),
    [
        ("resnet", (16, 16, 1), "resnet takes 32 to 256 pixels"),
        ("resnet", (300, 300, 1), "resnet takes 32 to 256 pixels"),
        ("aegan", (12, 32, 1), "aegan takes 16 to 256 pixels"),
        ("resnet", (50, 50, 1), "multiples of 8"),
        ("aegan", (32, 36, 1), "multiples of 8"),
    ],
)
def test_other_sizes_are_refused_in_one_sentence(
    network: str, image: tuple[int, int, int], why: str
) -> None:
    for build in (
        networks.build_encoder,
        networks.build_generator,
        networks.build_image_critic,
        networks.build_joint_critic,
    ):
        with pytest.raises(BadConfig, match=why) as caught:
            build(model(network, image))
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("network", FAMILIES)
def test_a_critic_judges_each_item_by_itself_and_has_a_slope(network: str) -> None:
    made = model(network)
    torch.manual_seed(0)
    x, z = torch.randn(4, 3, 32, 32, requires_grad=True), torch.randn(4, 6)
    image, joint = networks.build_image_critic(made), networks.build_joint_critic(made)
    torch.testing.assert_close(image(x)[:1], image(x[:1]), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(joint(x, z)[:1], joint(x[:1], z[:1]), rtol=1e-4, atol=1e-5)
    assert networks.build_latent_critic(made)(z).shape == (4,)
    (slope,) = torch.autograd.grad(image(x).sum(), x, create_graph=True)
    slope.square().sum().backward()  # a penalty on it trains the critic
    first = convolutions(image)[0].weight.grad
    assert first is not None
    assert first.abs().max() > 0


@pytest.mark.parametrize("network", FAMILIES)
def test_spectral_norm_bounds_every_layer_of_a_critic(network: str) -> None:
    made = model(network, critic_norm="spectral")
    critic = networks.build_image_critic(made)
    for _ in range(30):
        critic(torch.zeros(2, 3, 32, 32))
    for layer in critic.eval().modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            top = torch.linalg.svdvals(layer.weight.flatten(1))[0].item()
            assert top == pytest.approx(1, rel=0.1)


@pytest.mark.parametrize("network", FAMILIES)
def test_an_energy_critic_rebuilds_pairs_of_any_family(network: str) -> None:
    critic = networks.build_joint_critic(model(network), Autoencoder())
    again = critic(torch.zeros(2, 3, 32, 32), torch.zeros(2, 6))
    assert (again.x.shape, again.z.shape) == ((2, 3, 32, 32), (2, 6))


def test_a_block_that_doubles_is_the_sum_of_both_ways() -> None:
    torch.manual_seed(0)
    block = resnet.Up(3, 5).eval()
    x = torch.randn(2, 3, 4, 4)
    twice = nn.Upsample(scale_factor=2)
    plain = block.around(twice(x)) + block.inner(twice(block.head(x)))
    torch.testing.assert_close(block(x), plain)
    assert plain.shape == (2, 5, 8, 8)


@pytest.mark.parametrize("first", [True, False])
def test_a_block_that_halves_is_the_pooled_sum_of_both_ways(first: bool) -> None:
    torch.manual_seed(0)
    block = resnet.Down(3, 5, normalised=False, first=first)
    x = torch.randn(2, 3, 8, 8)
    one, two = (part for part in block.inner if isinstance(part, nn.Conv2d))
    inner = two(one(x if first else x.relu()).relu())
    whole = (inner + block.around(x)).detach().numpy()
    pooled = whole.reshape(2, 5, 4, 2, 4, 2).mean((3, 5))
    np.testing.assert_allclose(block(x).detach().numpy(), pooled, rtol=1e-4, atol=1e-5)


def test_the_residual_critic_tells_where_it_sees_something() -> None:
    critic = networks.build_image_critic(model("resnet"))
    x = torch.zeros(1, 3, 32, 32)
    x[:, :, 2:8, 2:8] = 1
    assert not torch.allclose(critic(x), critic(x.flip(3)), atol=1e-4)


def test_channel_norm_is_over_the_channels_of_one_pixel() -> None:
    norm, x = aegan.ChannelNorm(4), torch.randn(2, 4, 3, 3)
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([1.0, 2, 3, 4]))
        norm.bias.copy_(torch.tensor([0.0, 1, 0, -1]))
    found = norm(x).detach().numpy()
    pixel = x[1, :, 2, 0].numpy()
    normed = (pixel - pixel.mean()) / np.sqrt(pixel.var() + 1e-3)
    expected = normed * [1, 2, 3, 4] + [0, 1, 0, -1]
    np.testing.assert_allclose(found[1, :, 2, 0], expected, rtol=1e-4, atol=1e-5)


def test_at_64_pixels_the_layers_are_the_articles() -> None:
    made = model("aegan", (64, 64, 3), width=64, latent=16)
    encoder, generator = networks.build_encoder(made), networks.build_generator(made)
    critic = networks.build_image_critic(made)
    down = [(64, 2), (64, 2), (128, 2), (128, 2), (128, 1), (256, 1)]
    for network, kernel in ((encoder, (4, 4)), (critic, (3, 3))):
        layers = convolutions(network)
        assert [(c.out_channels, c.stride[0]) for c in layers] == down
        assert {c.kernel_size for c in layers} == {kernel}
    up = convolutions(generator)
    assert [c.out_channels for c in up] == [256, 128, 128, 64, 64, 3]
    assert [c.in_channels for c in up] == [128, 320, 192, 192, 128, 128]  # 64 of them are z's
    codes = networks.build_latent_critic(made)
    linear = [part for part in codes.modules() if isinstance(part, nn.Linear)]
    sizes = [(part.in_features, part.out_features) for part in linear]
    assert sizes == [*((16 + 16 * i, 16) for i in range(16)), (272, 128), (128, 1)]


def test_z_joins_in_at_every_scale() -> None:
    torch.manual_seed(0)
    generator = networks.build_generator(model("aegan", width=8))
    assert isinstance(generator, aegan.Generator)
    seen: list[tuple[Tensor, Tensor]] = []

    def watched(module: nn.Module, given: tuple[Tensor, ...], out: Tensor) -> None:
        seen.append((given[0][:, -8:], out))

    for step in (*generator.steps, generator.last):
        step.register_forward_hook(watched)
    z = torch.randn(3, 6)
    generator(z)
    beside = generator.beside(z)
    assert [part.shape[2] for part, _ in seen] == [8, 16, 32, 32, 32]
    for part, _ in seen:
        torch.testing.assert_close(part, beside.expand_as(part))
