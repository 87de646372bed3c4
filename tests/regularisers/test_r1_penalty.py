"""R1 against numpy on critics whose slope is known, and against central differences."""

import pytest
import torch
from torch import Tensor, nn

from models import regularisers
from models.errors import BadConfig, UnknownName
from models.regularisers import R1
from models.regularisers.r1_penalty import r1_penalty

SHAPE = (4, 3, 6, 5)


def drawn(seed: int, shape: tuple[int, ...] = SHAPE) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_a_linear_critic_pays_half_its_squared_slope() -> None:
    slope = drawn(1)[0]
    penalty = r1_penalty(lambda x: (x * slope).flatten(1).sum(1) + 3, drawn(2))
    assert penalty.item() == pytest.approx((slope.numpy() ** 2).sum() / 2, rel=1e-5)


def test_the_slope_is_taken_at_each_image_and_the_mean_over_images() -> None:
    x, bend = drawn(1), drawn(2)[0]
    penalty = r1_penalty(lambda x: (bend * x**2 / 2).flatten(1).sum(1), x)
    slopes = bend.numpy() * x.numpy()
    assert penalty.item() == pytest.approx((slopes**2).sum() / len(x) / 2, rel=1e-5)


def test_it_runs_over_both_parts_of_a_pair() -> None:
    x, z = drawn(1), drawn(2, (4, 2))
    penalty = r1_penalty(lambda x, z: x.flatten(1).sum(1) * z.sum(1), x, z)
    of_x = x[0].numel() * z.numpy().sum(1) ** 2  # the slope is sum(z) in every pixel
    of_z = z[0].numel() * x.flatten(1).numpy().sum(1) ** 2
    assert penalty.item() == pytest.approx((of_x + of_z).mean() / 2, rel=1e-5)


def test_a_convolution_agrees_with_central_differences() -> None:
    torch.manual_seed(0)
    critic = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.LeakyReLU(0.2), nn.Flatten(), nn.Linear(4 * 4, 1), nn.Flatten(0)
    ).double()
    x, step = drawn(1, (3, 1, 4, 4)).double(), 1e-6
    squares = 0.0
    with torch.no_grad():
        for place in range(16):
            move = torch.zeros(16, dtype=torch.float64)
            move[place] = step
            move = move.reshape(1, 1, 4, 4)
            squares += (((critic(x + move) - critic(x - move)) / (2 * step)) ** 2).mean().item()
    assert r1_penalty(critic, x).item() == pytest.approx(squares / 2, rel=1e-5)


def test_only_the_critic_is_trained() -> None:
    x, z = drawn(1).requires_grad_(), drawn(2, (4, 2)).requires_grad_()
    slope = drawn(3)[0].requires_grad_()
    r1_penalty(lambda x, z: (x * slope).flatten(1).sum(1) + z.sum(1), x, z).backward()
    assert x.grad is None
    assert z.grad is None
    assert slope.grad is not None
    torch.testing.assert_close(slope.grad, slope.detach())  # d/dw |w|^2 / 2 = w


def test_a_lazy_penalty_weighs_as_much_on_the_whole() -> None:
    assert [R1(weight=3.0).factor(n) for n in range(4)] == [3, 3, 3, 3]
    assert [R1(weight=3.0, every=4).factor(n) for n in range(8)] == [0, 0, 0, 12, 0, 0, 0, 12]


def test_settings_are_a_number_or_a_table() -> None:
    assert regularisers.parse({}).r1 is None
    assert regularisers.parse({"r1": 0}).r1 is None
    assert regularisers.parse({"r1": 10}).r1 == R1(weight=10.0, every=1)
    assert regularisers.parse({"r1": {"every": 16}}).r1 == R1(weight=10.0, every=16)


@pytest.mark.parametrize(
    ("table", "error", "why"),
    [
        ({"r1": -1}, BadConfig, "0 or more"),
        ({"r1": True}, BadConfig, "0 or more"),
        ({"r1": float("inf")}, BadConfig, "0 or more"),
        ({"r1": {"every": 0}}, BadConfig, "whole number from 1"),
        ({"r1": {"every": 1.5}}, BadConfig, "whole number from 1"),
        ({"r1": {"gamma": 1}}, UnknownName, "every, weight"),
    ],
)
def test_wrong_settings_are_refused(
    table: dict[str, object], error: type[Exception], why: str
) -> None:
    with pytest.raises(error, match=why):
        regularisers.parse(table)


def test_one_that_is_off_disturbs_no_other() -> None:
    assert regularisers.parse({"r1": 0, "pairwise": 1}).pairwise is not None
