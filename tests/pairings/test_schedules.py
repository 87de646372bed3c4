"""Weights that change as a run goes on."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from games import GAN, Sum, build, config, rng, turn
from models import pairings
from models.config import Config
from models.errors import BadConfig, UnknownName
from models.pairings.schedule import Schedule, parse


def test_a_weight_goes_in_a_straight_line_and_stays() -> None:
    falls = parse("image", {"from": 10, "to": 2, "steps": 4})
    assert [falls.at(step) for step in (0, 1, 2, 4, 5, 999)] == [10, 8, 6, 2, 2, 2]
    later = parse("image", {"from": 0, "to": 1, "steps": 2, "after": 3})
    assert [later.at(step) for step in range(7)] == [0, 0, 0, 0, 0.5, 1, 1]
    assert (falls.largest, later.largest) == (10, 1)


def test_a_number_is_a_weight_that_does_not_change() -> None:
    assert parse("image", 3.0) == Schedule(start=3, end=3)
    assert parse("image", 3.0).at(10_000) == 3


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ({"from": 1}, "lacks to, steps"),
        ({"from": 1, "to": 2, "steps": 0}, "steps from 1"),
        ({"from": 1, "to": 2, "steps": 1.5}, "whole numbers"),
        ({"from": 1, "to": 2, "steps": 2, "after": -1}, "after from 0"),
        ({"from": -1, "to": 2, "steps": 2}, "must not be negative"),
        ({"from": 1, "to": -2, "steps": 2}, "must not be negative"),
        (-1.0, "must not be negative"),
    ],
)
def test_wrong_schedules_are_refused(value: Any, why: str) -> None:
    with pytest.raises(BadConfig, match=why):
        parse("image", value)


def test_an_unknown_key_lists_the_known_ones() -> None:
    with pytest.raises(UnknownName, match="after, from, steps, to"):
        parse("image", {"from": 1, "to": 2, "steps": 2, "until": 3})


def test_a_config_takes_a_table_and_gives_it_back() -> None:
    table = {"from": 10, "to": 1, "steps": 100}
    made = config("aegan", weights={"image": table})
    assert Config.from_dict(made.to_dict()) == made
    changed = made.changed(["weights.image={from=5, to=1, steps=10}"])
    assert pairings.schedules(changed)["image"] == Schedule(start=5, end=1, steps=10)
    with pytest.raises(BadConfig, match=r"weights\.image\.from must be a finite number"):
        config("aegan", weights={"image": {**table, "from": "ten"}})


def test_a_pairing_weighs_as_the_moment_says(
    pair: tuple[nn.Module, nn.Module], x: Tensor, z: Tensor
) -> None:
    aegan = build("aegan", weights={"image": {"from": 8, "to": 0, "steps": 4}})
    critics = nn.ModuleDict({"image": Sum(), "latent": Sum()})
    totals, image = [], 0.0
    for step in (0, 2, 4, 9):
        then = aegan.at(step)
        losses = then.pair_loss(critics, then.forward(*pair, x, z, rng()), GAN, turn())
        totals.append(losses["total"].item())
        image = losses["image"].item()
    falls = [totals[0] - total for total in totals]
    assert falls == pytest.approx([0, 4 * image, 8 * image, 8 * image], rel=1e-4)
    assert aegan.weights["image"] == 8  # the pairing of one moment is not that of another


def test_smoothing_follows_its_schedule_in_a_game_of_pairs(
    pair: tuple[nn.Module, nn.Module], x: Tensor, z: Tensor
) -> None:
    weights = {"smoothing": {"from": 0.2, "to": 0, "steps": 2}}
    bigan = build("bigan", weights=weights)
    critics = bigan.build_critics(config("bigan").model)
    batch = bigan.forward(*pair, x, z, rng()).detached()
    real = critics["joint"](x, batch.code).mean()
    fake = critics["joint"](batch.sample, z).mean()
    losses = [
        bigan.at(step).critic_loss(critics, batch, GAN, turn())["total"] for step in (0, 1, 2)
    ]
    for loss, smoothing in zip(losses, (0.2, 0.1, 0.0), strict=True):
        torch.testing.assert_close(loss - losses[2], smoothing * (real - fake))
