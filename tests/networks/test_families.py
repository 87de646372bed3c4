"""The network families: sizes, supports, and what a critic may not contain."""

from dataclasses import replace
from typing import Any, Literal

import pytest
import torch
from torch import nn
from torch.nn.functional import conv2d, interpolate

from models import networks
from models.config import ModelConfig, Prior
from models.errors import BadConfig, UnknownName
from models.networks.blocks import Orthonormal
from models.networks.dcgan import Enlarging, Generator, pyramid
from models.networks.heads import Autoencoder, Embedding, Projections, Rebuilt, Untouched


def image_model(image: tuple[int, int, int], **more: Any) -> ModelConfig:
    return replace(ModelConfig(image=image, latent=6, width=4), **more)


@pytest.mark.parametrize(
    ("image", "base", "levels"),
    [
        ((16, 16, 1), (4, 4), 2),
        ((28, 28, 1), (7, 7), 2),
        ((32, 32, 3), (4, 4), 3),
        ((24, 40, 3), (6, 10), 2),
        ((48, 48, 2), (6, 6), 3),
        ((256, 256, 1), (4, 4), 6),
    ],
)
def test_a_pyramid_halves_down_to_4_to_7_pixels(
    image: tuple[int, int, int], base: tuple[int, int], levels: int
) -> None:
    sizes = pyramid(image, 4)
    assert (sizes.base, len(sizes.channels)) == (base, levels)
    assert sizes.channels[0] == 4
    assert max(sizes.channels) <= 8 * 4


@pytest.mark.parametrize("image", [(16, 16, 1), (28, 28, 1), (24, 40, 3), (48, 48, 5)])
def test_g_and_e_map_between_images_and_codes(image: tuple[int, int, int]) -> None:
    height, width, channels = image
    model = image_model(image)
    x = torch.rand(3, channels, height, width) * 2 - 1
    z = torch.randn(3, 6) * 50
    assert networks.build_encoder(model)(x).shape == (3, 6)
    fakes = networks.build_generator(model)(z)
    assert fakes.shape == x.shape
    assert fakes.abs().max() <= 1


def test_dense_sees_every_pixel_of_any_size_and_counts_units() -> None:
    model = image_model((5, 7, 2), network="dense", width=8)
    encoder, generator = networks.build_encoder(model), networks.build_generator(model)
    sizes = [tuple(p.shape) for p in (*encoder.parameters(), *generator.parameters())]
    wide, deep = [(8, 70), (8,), (6, 8), (6,)], [(8, 6), (8,), (70, 8), (70,)]
    assert sizes == wide + deep
    x = torch.rand(3, 2, 5, 7) * 2 - 1
    assert encoder(x).shape == (3, 6)
    assert generator(encoder(x) * 50).shape == x.shape
    assert generator(encoder(x) * 50).abs().max() <= 1
    critics = [networks.build_image_critic(model), networks.build_latent_critic(model)]
    pairs = networks.build_joint_critic(model)
    assert {p.shape[0] for c in [*critics, pairs] for p in c.parameters()} == {8, 1}
    scores = [critics[0](x), critics[1](encoder(x)), pairs(x, encoder(x))]
    assert [score.shape for score in scores] == [(3,)] * 3
    rebuilt = networks.build_joint_critic(model, Autoencoder())(x, encoder(x))
    assert rebuilt.x.shape == x.shape


def test_flat_has_two_hidden_layers_the_second_with_batchnorm() -> None:
    model = image_model((5, 7, 2), network="flat", width=8)
    encoder, generator = networks.build_encoder(model), networks.build_generator(model)
    for network, ends in ((encoder, (70, 6)), (generator, (6, 70))):
        kinds = [m for m in network.modules() if isinstance(m, nn.Linear | nn.BatchNorm1d)]
        assert [type(m) for m in kinds] == [nn.Linear, nn.Linear, nn.BatchNorm1d, nn.Linear]
        sizes = [tuple(m.weight.shape) for m in kinds if isinstance(m, nn.Linear)]
        assert sizes == [(8, ends[0]), (8, 8), (ends[1], 8)]
    x = torch.rand(3, 2, 5, 7) * 2 - 1
    fakes = generator(encoder(x) * 50)
    assert fakes.shape == x.shape
    assert fakes.abs().max() <= 1
    assert networks.build_joint_critic(model)(x, encoder(x)).shape == (3,)


@pytest.mark.parametrize(
    ("image", "why"),
    [
        ((12, 32, 1), "16 to 256"),
        ((512, 512, 3), "16 to 256"),
        ((30, 30, 1), "multiples of 4"),
        ((32, 36, 1), "multiples of 8"),
    ],
)
def test_sizes_that_do_not_halve_are_refused(image: tuple[int, int, int], why: str) -> None:
    with pytest.raises(BadConfig, match=why):
        networks.build_encoder(image_model(image))


@pytest.mark.parametrize("upsampling", ["nearest", "bilinear"])
def test_a_weight_does_what_a_convolution_of_a_larger_image_does(
    upsampling: Literal["nearest", "bilinear"],
) -> None:
    weight, x = torch.randn(5, 3, 3, 3), torch.randn(2, 5, 6, 7)
    how = {} if upsampling == "nearest" else {"align_corners": False}
    larger = interpolate(x, scale_factor=2, mode=upsampling, **how)
    layer = Enlarging(5, 3, upsampling)
    layer.weight = torch.nn.Parameter(weight)
    found = layer(x)
    wanted = conv2d(larger, weight.transpose(0, 1).flip(2, 3), padding=1)
    inner = (..., slice(3, -3), slice(3, -3))  # behind an edge torch repeats the outermost pixels
    torch.testing.assert_close(found[inner], wanted[inner], rtol=1e-4, atol=1e-4)
    assert found.shape == wanted.shape


@pytest.mark.parametrize(
    ("upsampling", "even"), [("nearest", True), ("bilinear", True), ("transposed", False)]
)
def test_an_even_area_has_no_checkerboard(upsampling: str, even: bool) -> None:
    torch.manual_seed(0)
    generator = networks.build_generator(image_model((64, 64, 3), upsampling=upsampling)).eval()
    assert isinstance(generator, Generator)
    x = torch.ones(1, 32, 4, 4)  # one bright, even area
    with torch.no_grad():
        for layer in list(generator.layers.children())[3:]:  # behind the linear one and its norm
            x = layer(x)
    middle = x[..., 30:34, 30:34]
    flat = bool((middle - middle.mean((2, 3), keepdim=True)).abs().max() < 1e-6)
    assert flat is even


@pytest.mark.parametrize("upsampling", ["nearest", "bilinear"])
def test_a_generator_that_resizes_trains_and_is_saved_small(upsampling: str) -> None:
    model = image_model((32, 32, 1), upsampling=upsampling)
    generator, other = (networks.build_generator(model) for _ in range(2))
    before = [p.detach().clone() for p in generator.parameters()]
    torch.optim.SGD(generator.parameters(), lr=1.0).zero_grad()
    generator(torch.randn(4, 6)).square().sum().backward()
    torch.optim.SGD(generator.parameters(), lr=1.0).step()
    assert all(not torch.equal(a, b) for a, b in zip(before, generator.parameters(), strict=True))
    shapes = {tuple(p.shape[2:]) for p in generator.parameters() if p.dim() == 4}
    assert shapes == {(3, 3)}
    other.load_state_dict(generator.state_dict())
    z = torch.randn(4, 6)
    assert torch.equal(generator.eval()(z), other.eval()(z))


@pytest.mark.parametrize("network", ["mlp", "resnet", "aegan", "dense", "flat"])
def test_only_dcgan_resizes(network: str) -> None:
    shape: dict[str, Any] = {"vector": 2} if network == "mlp" else {"image": (32, 32, 1)}
    model = ModelConfig(network=network, upsampling="nearest", **shape)
    with pytest.raises(BadConfig, match=r"leave model\.upsampling out"):
        networks.build_generator(model)


@pytest.mark.parametrize("network", ["dcgan", "mlp"])
def test_codes_live_where_the_prior_lives(network: str) -> None:
    model = (
        image_model((16, 16, 1))
        if network == "dcgan"
        else ModelConfig(network="mlp", vector=2, latent=6, width=8)
    )
    x = torch.rand(8, 1, 16, 16) if network == "dcgan" else torch.randn(8, 2)
    priors: tuple[tuple[Prior, bool], ...] = (("normal", False), ("uniform", True))
    for prior, bounded in priors:
        encoder = networks.build_encoder(replace(model, prior=prior))
        head = next(
            m for m in encoder.modules() if isinstance(m, nn.Linear) and m.out_features == 6
        )
        with torch.no_grad():
            head.bias.fill_(30.0)  # pushes every code far out
        assert bool(encoder(x).abs().max() <= 1) is bounded


@pytest.mark.parametrize("norm", ["none", "spectral"])
def test_a_critic_scores_each_sample_alone(norm: str) -> None:
    torch.manual_seed(0)
    model = image_model((16, 16, 1), critic_norm=norm, critic_width=8)
    x, z = torch.randn(5, 1, 16, 16), torch.randn(5, 6)
    cases = (
        (networks.build_image_critic(model), (x,)),
        (networks.build_latent_critic(model), (z,)),
        (networks.build_joint_critic(model), (x, z)),
    )
    for critic, inputs in cases:
        assert not any(isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d) for m in critic.modules())
        critic.eval()  # spectral norm turns its vectors in training mode
        alone = critic(*(t[:1] for t in inputs))
        together = critic(*inputs)
        assert together.shape == (5,)
        torch.testing.assert_close(together[:1], alone)


def test_spectral_norm_divides_by_the_largest_singular_value() -> None:
    torch.manual_seed(0)
    critic = networks.build_joint_critic(
        ModelConfig(network="mlp", vector=3, latent=6, width=8, critic_norm="spectral")
    )
    for _ in range(50):
        critic(torch.randn(2, 3), torch.randn(2, 6))
    linears = [m for m in critic.modules() if isinstance(m, nn.Linear)]
    assert len(linears) == 8
    for linear in linears:
        largest = torch.linalg.svdvals(linear.weight)[0].item()
        assert largest == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize(
    ("norm", "own", "normed"),
    [
        ("none", "same", (False, False)),
        ("spectral", "same", (True, True)),
        ("none", "spectral", (False, True)),
        ("spectral", "none", (True, False)),
    ],
)
def test_the_critic_of_codes_may_have_a_norm_of_its_own(
    norm: str, own: str, normed: tuple[bool, bool]
) -> None:
    model = image_model((16, 16, 1), critic_norm=norm, latent_critic_norm=own)
    critics = (networks.build_image_critic(model), networks.build_latent_critic(model))
    found = tuple(any("parametrizations" in n for n, _ in c.named_modules()) for c in critics)
    assert found == normed


def test_a_wrong_name_lists_the_known_ones() -> None:
    with pytest.raises(UnknownName, match="dcgan, dense, flat, mlp"):
        networks.build_encoder(image_model((16, 16, 1), network="unet"))


def test_a_network_wants_its_own_kind_of_data() -> None:
    with pytest.raises(BadConfig, match=r"model\.vector"):
        networks.build_encoder(image_model((16, 16, 1), network="mlp"))
    with pytest.raises(BadConfig, match=r"model\.image"):
        networks.build_generator(ModelConfig(vector=2, network="dcgan"))


@pytest.mark.parametrize("network", ["dcgan", "mlp"])
def test_a_critic_of_pairs_ends_in_what_its_head_says(network: str) -> None:
    torch.manual_seed(0)
    model, x = image_model((24, 40, 3)), torch.randn(5, 3, 24, 40)
    if network == "mlp":
        model, x = ModelConfig(network="mlp", vector=2, latent=6, width=8), torch.randn(5, 2)
    z = torch.randn(5, 6)
    untouched = networks.build_joint_critic(model, Untouched())
    assert [part is given for part, given in zip(untouched(x, z), (x, z), strict=True)] == [
        True
    ] * 2
    assert list(untouched.parameters()) == []
    assert networks.build_joint_critic(model, Embedding(features=7))(x, z).shape == (5, 7)
    seen = networks.build_joint_critic(model, Projections(features=7, rank=3))
    assert seen(x, z).shape == (5, 6)
    critic = networks.build_joint_critic(model, Autoencoder())
    again: Rebuilt = critic(x, z)
    assert (again.x.shape, again.z.shape, again.code.shape) == (x.shape, z.shape, (5, 6))
    assert not any(isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d) for m in critic.modules())
    torch.testing.assert_close(critic(x[:1], z[:1]).x, again.x[:1])  # each pair alone


@pytest.mark.parametrize(
    "head", [{"features": 0}, {"features": 4, "rank": 5}, {"features": 4, "rank": 0}]
)
def test_sizes_of_a_head_that_make_no_sense_are_refused(head: dict[str, int]) -> None:
    with pytest.raises(BadConfig, match="objective"):
        (Projections if "rank" in head else Embedding)(**head)


def test_an_orthonormal_map_comes_back_to_where_it_was_near() -> None:
    torch.manual_seed(0)
    linear = Orthonormal(6, 3)
    before = linear.weight.detach().clone()
    with torch.no_grad():
        linear.weight.add_(0.01 * torch.randn(6, 3))
    linear.retract()
    after = linear.weight.detach()
    torch.testing.assert_close(after.T @ after, torch.eye(3))
    assert (after - before).abs().max() < 0.05  # no column was turned round
