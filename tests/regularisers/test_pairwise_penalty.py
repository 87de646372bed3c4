"""The pair-wise penalty against numpy on critics whose slope is known."""

import numpy as np
import pytest
import torch
from torch import Tensor

from models import regularisers
from models.errors import BadConfig, ShapeError, UnknownName
from models.regularisers.pairwise_penalty import pairwise_penalty

SHAPE = (4, 3, 6, 5)


def rng() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def images(seed: int) -> Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("form", ["norm", "squared"])
def test_a_linear_critic_pays_the_distance_of_its_slope_from_the_direction(
    form: regularisers.Form,
) -> None:
    x, again, slope = images(1), images(2), images(3)[0] / 10
    penalty = pairwise_penalty(
        lambda x, z: (x * slope).flatten(1).sum(1),
        x=x,
        z=torch.zeros(4, 2),
        reconstruction=again,
        rng=rng(),
        form=form,
    )
    step = (x - again).numpy().reshape(4, -1)
    direction = step / np.sqrt((step**2).sum(1, keepdims=True))  # one norm over all of an image
    distance = np.sqrt(((slope.numpy().reshape(1, -1) - direction) ** 2).sum(1))
    expected = distance.mean() if form == "norm" else (distance**2).mean()
    assert penalty.item() == pytest.approx(expected, rel=1e-5)


def test_the_slope_is_taken_between_the_image_and_its_reconstruction() -> None:
    x, again = images(1), images(2)
    places = []

    def critic(x: Tensor, z: Tensor) -> Tensor:
        places.append(x.detach())
        return x.flatten(1).sum(1)

    pairwise_penalty(critic, x=x, z=torch.zeros(4, 2), reconstruction=again, rng=rng())
    mix = ((places[0] - again) / (x - again)).flatten(1).numpy()
    assert np.ptp(mix, axis=1) == pytest.approx(0, abs=1e-3)  # one weight per image
    assert np.ptp(mix[:, 0]) > 0.05  # another for each
    assert ((mix > -1e-3) & (mix < 1 + 1e-3)).all()


def test_a_critic_that_climbs_to_each_image_with_slope_one_pays_nothing() -> None:
    x, again = images(1), images(2)
    step = (x - again).flatten(1)
    unit = step / step.norm(dim=1, keepdim=True)
    penalty = pairwise_penalty(
        lambda x, z: (x.flatten(1) * unit).sum(1),
        x=x,
        z=torch.zeros(4, 2),
        reconstruction=again,
        rng=rng(),
    )
    assert penalty.item() == pytest.approx(0, abs=1e-5)


def test_only_the_critic_is_trained() -> None:
    x, again, z = images(1), images(2).requires_grad_(), torch.ones(4, 2, requires_grad=True)
    weight = torch.full(SHAPE[1:], 0.1, requires_grad=True)
    penalty = pairwise_penalty(
        lambda x, z: ((x * weight) ** 2).flatten(1).sum(1) * z.sum(1),
        x=x,
        z=z,
        reconstruction=again,
        rng=rng(),
    )
    penalty.backward()
    assert weight.grad is not None
    assert weight.grad.abs().max() > 0
    assert again.grad is None
    assert z.grad is None


def test_a_perfect_reconstruction_gives_no_nan() -> None:
    x = images(1)
    weight = torch.full(SHAPE[1:], 0.1, requires_grad=True)
    penalty = pairwise_penalty(
        lambda x, z: (x * weight).flatten(1).sum(1),
        x=x,
        z=torch.zeros(4, 2),
        reconstruction=x.clone(),
        rng=rng(),
    )
    penalty.backward()
    assert penalty.isfinite()
    assert weight.grad is not None
    assert weight.grad.isfinite().all()


def test_shapes_must_agree() -> None:
    with pytest.raises(ShapeError, match="reconstructions"):
        pairwise_penalty(
            lambda x, z: x.flatten(1).sum(1),
            x=images(1),
            z=torch.zeros(4, 2),
            reconstruction=images(2)[:2],
            rng=rng(),
        )


def test_settings_are_a_number_or_a_table() -> None:
    assert regularisers.parse({}).pairwise is None
    assert regularisers.parse({"pairwise": 0}).pairwise is None
    one = regularisers.parse({"pairwise": 1}).pairwise
    table = regularisers.parse({"pairwise": {"weight": 1.0, "form": "squared"}}).pairwise
    assert one == regularisers.Pairwise(weight=1.0, form="norm")
    assert table == regularisers.Pairwise(weight=1.0, form="squared")


@pytest.mark.parametrize(
    ("table", "error", "why"),
    [
        ({"r2": 1}, UnknownName, "choose from: augment, clip, dragan"),
        ({"pairwise": -1}, BadConfig, "0 or more"),
        ({"pairwise": "on"}, BadConfig, "0 or more"),
        ({"pairwise": {"form": "cube"}}, UnknownName, "norm, squared"),
        ({"pairwise": {"lambda": 1}}, UnknownName, "form, weight"),
    ],
)
def test_wrong_settings_are_refused(
    table: dict[str, object], error: type[Exception], why: str
) -> None:
    with pytest.raises(error, match=why):
        regularisers.parse(table)
