"""How critics look: noise that fades, and changes of images, against numpy."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from games import GAN, build, config, rng
from models import networks, pairings, regularisers
from models.errors import BadConfig, UnknownName
from models.pairings.pairing import Turn
from models.regularisers.view import InstanceNoise, changed, noisy

SHAPE = (5, 3, 16, 24)


def images(seed: int) -> Tensor:
    return torch.rand(SHAPE, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def test_noise_fades_in_a_straight_line() -> None:
    noise = InstanceNoise(sigma=0.4)
    assert [noise.at(step, 8) for step in (0, 2, 6, 8)] == pytest.approx([0.4, 0.3, 0.1, 0])
    short = InstanceNoise(sigma=0.4, steps=4)
    assert [short.at(step, 8) for step in (0, 1, 4, 7)] == pytest.approx([0.4, 0.3, 0, 0])


def test_noise_has_its_deviation_and_differs_at_each_look() -> None:
    look, zeros = noisy(0.3, rng()), torch.zeros(200, 100)
    first, second = look(zeros), look(zeros)
    assert first.std().item() == pytest.approx(0.3, rel=0.02)
    assert abs(first.mean().item()) < 0.01
    assert not torch.equal(first, second)


def test_color_is_brightness_then_saturation_then_contrast() -> None:
    x = images(1)
    drawn = torch.rand(5, 3, generator=rng()).numpy().T
    expected = x.numpy().copy()
    for i in range(5):
        image = expected[i] + (drawn[0, i] - 0.5)
        grey = image.mean(0, keepdims=True)
        image = grey + (image - grey) * 2 * drawn[1, i]
        expected[i] = image.mean() + (image - image.mean()) * (drawn[2, i] + 0.5)
    found = changed(("color",), x, rng())(x)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-4, atol=1e-5)


def test_translation_moves_whole_pixels_and_leaves_nothing_behind() -> None:
    moves = set()
    for seed in range(40):
        x = images(seed) + 5  # no pixel is 0
        look = changed(("translation",), x, torch.Generator().manual_seed(seed))
        found = look(x).numpy()
        for i in range(5):
            (down, right), expected = _moved(x[i].numpy(), found[i])
            np.testing.assert_array_equal(found[i], expected)
            moves.add((down, right))
    downs, rights = ({move[axis] for move in moves} for axis in (0, 1))
    assert downs == set(range(-2, 3))  # an eighth of 16
    assert rights == set(range(-3, 4))  # an eighth of 24


def _moved(image: np.ndarray, found: np.ndarray) -> tuple[tuple[int, int], np.ndarray]:
    """How far an image was moved, told by where pixels are 0, and the image moved so by hand."""
    there = found[0] != 0
    rows, columns = np.flatnonzero(there.any(1)), np.flatnonzero(there.any(0))
    height, width = there.shape
    down = int(rows[0] or -(height - 1 - rows[-1]))
    right = int(columns[0] or -(width - 1 - columns[-1]))
    expected = np.zeros_like(image)
    for row in range(height):
        for column in range(width):
            if 0 <= row - down < height and 0 <= column - right < width:
                expected[:, row, column] = image[:, row - down, column - right]
    return (down, right), expected


def test_cutout_makes_a_square_of_half_the_side_zero() -> None:
    middles = set()
    for seed in range(60):
        x = images(seed) + 5
        found = changed(("cutout",), x, torch.Generator().manual_seed(seed))(x).numpy()
        for i in range(5):
            hole = found[i][0] == 0
            rows, columns = np.flatnonzero(hole.any(1)), np.flatnonzero(hole.any(0))
            assert hole.sum() == len(rows) * len(columns)  # one rectangle
            assert 4 <= len(rows) <= 8 and 6 <= len(columns) <= 12  # noqa: PT018
            if len(rows) == 8 and len(columns) == 12:
                middles.add((rows[0] + 4, columns[0] + 6))
            kept = ~np.broadcast_to(hole, found[i].shape)
            np.testing.assert_array_equal(found[i][kept], x[i].numpy()[kept])
    assert len(middles) > 20


@pytest.mark.parametrize("name", ["color", "translation", "cutout"])
def test_all_that_stands_in_a_row_is_changed_alike_and_has_a_gradient(name: Any) -> None:
    x, other = images(1), images(2)
    look = changed((name,), x, rng())
    torch.testing.assert_close(look(x), look(x), rtol=0, atol=0)
    # each change is affine in its image, so that it carries differences over, level or no level
    base = look(torch.zeros(SHAPE))
    torch.testing.assert_close(look(x + other) - base, look(x) + look(other) - 2 * base)
    x.requires_grad_()
    look(x).sum().backward()
    assert x.grad is not None
    assert x.grad.abs().max() > 0


@pytest.mark.parametrize("name", ["color", "translation", "cutout"])
def test_each_row_has_a_change_of_its_own(name: Any) -> None:
    same = images(1)[:1].expand(SHAPE)
    found = changed((name,), same, rng())(same)
    assert len({row.numpy().tobytes() for row in found}) > 3


@pytest.mark.parametrize("name", pairings.PAIRINGS)
def test_critics_see_items_through_the_view_and_reconstructions_are_not_measured_so(
    name: str, x: Tensor, z: Tensor
) -> None:
    made, pairing = config(name), build(name)
    pair = networks.build_encoder(made.model), networks.build_generator(made.model)
    critics = pairing.build_critics(made.model)
    batch = pairing.forward(*pair, x, z, rng())
    turned, plain = Turn(rng=rng(), view=lambda items: -items), Turn(rng=rng())
    through = pairing.critic_loss(critics, batch.detached(), GAN, turned)["total"]
    cut = batch.detached()
    items = {name: getattr(cut, name) for name in ("x", "sample", "reconstruction")}
    seen: dict[str, Any] = {name: None if i is None else -i for name, i in items.items()}
    by_hand = pairing.critic_loss(critics, replace(cut, **seen), GAN, plain)["total"]
    torch.testing.assert_close(through, by_hand)
    without = pairing.critic_loss(critics, batch.detached(), GAN, plain)["total"]
    assert torch.equal(through, without) == (name == "aae")  # its critic sees codes alone
    losses = [pairing.pair_loss(critics, batch, GAN, each) for each in (turned, plain)]
    for unseen in ("image", "latent", "code"):
        if unseen in losses[0]:
            torch.testing.assert_close(losses[0][unseen], losses[1][unseen])
    for judged in ("sample", "generator"):
        if judged in losses[0]:
            assert not torch.equal(losses[0][judged], losses[1][judged])


def test_settings_are_read_and_wrong_ones_refused() -> None:
    chosen = regularisers.parse({"instance_noise": 0.1, "augment": ["color", "cutout"]})
    assert chosen.instance_noise == InstanceNoise(sigma=0.1)
    assert chosen.augment == ("color", "cutout")
    table = {"instance_noise": {"sigma": 0.1, "steps": 50}, "augment": []}
    chosen = regularisers.parse(table)
    assert chosen.instance_noise == InstanceNoise(sigma=0.1, steps=50)
    assert chosen.augment is None
    assert regularisers.parse({"instance_noise": 0}).instance_noise is None
    for wrong in (-0.1, "loud", {"steps": 5}, {"sigma": 0.1, "steps": 1.5}):
        with pytest.raises(BadConfig, match=r"regularisers\.instance_noise"):
            regularisers.parse({"instance_noise": wrong})
    with pytest.raises(BadConfig, match="must be a list"):
        regularisers.parse({"augment": "color"})
    with pytest.raises(UnknownName, match="color, cutout, translation"):
        regularisers.parse({"augment": ["flip"]})
