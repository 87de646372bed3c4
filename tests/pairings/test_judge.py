"""The terms `feature` and `critic`, recomputed from the critics themselves."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from games import build, config
from models.errors import BadConfig
from models.pairings.judge import judge_among
from models.training.step import critics_of


def judged(name: str, x: Tensor, again: Tensor, code: Tensor) -> tuple[nn.ModuleDict, list[Any]]:
    critics = build(name).build_critics(config(name).model)
    with torch.no_grad():
        found = judge_among(critics, config(name).model)(x, again, code)
    return critics, [each.numpy() for each in found]


def last_hidden(critic: Any, item: Tensor) -> np.ndarray:
    """What the last linear layer of a critic is given, caught on its way."""
    caught: list[Tensor] = []
    handle = critic.score.register_forward_hook(lambda layer, given, out: caught.append(given[0]))
    with torch.no_grad():
        critic(item)
    handle.remove()
    return caught[0].numpy()


def test_a_critic_of_pairs_sees_both_with_the_item_s_code(x: Tensor, z: Tensor) -> None:
    again = x + 0.5
    critics, (feature, critic) = judged("bigan", x, again, z)
    joint: Any = critics["joint"]
    with torch.no_grad():
        wanted = (joint.features(x, z) - joint.features(again, z)).abs().mean(1)
        np.testing.assert_allclose(critic, -joint(x, z).numpy(), rtol=1e-6)
    np.testing.assert_allclose(feature, wanted.numpy(), rtol=1e-5)
    assert feature.min() > 0


def test_a_critic_of_items_needs_no_code(x: Tensor, z: Tensor) -> None:
    again = x + 0.5
    critics, (feature, critic) = judged("aegan", x, again, z)
    image = critics["image"]
    wanted = np.abs(last_hidden(image, x) - last_hidden(image, again)).mean(1)
    np.testing.assert_allclose(feature, wanted, rtol=1e-5)
    with torch.no_grad():
        np.testing.assert_allclose(critic, -image(x).numpy(), rtol=1e-6)


def test_alad_s_critic_of_cycles_judges(x: Tensor, z: Tensor) -> None:
    again = x + 0.5
    critics, (feature, critic) = judged("alad", x, again, z)
    image = critics["image"]
    same, cycle = torch.cat([x, x], 1), torch.cat([x, again], 1)
    wanted = np.abs(last_hidden(image, same) - last_hidden(image, cycle)).mean(1)
    np.testing.assert_allclose(feature, wanted, rtol=1e-5)
    with torch.no_grad():
        np.testing.assert_allclose(critic, -image(cycle).numpy(), rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "objective", "model", "said"),
    [
        ("aae", "gan", {}, "aae has no critic of items"),
        ("bigan", "ebgan", {"prior": "uniform"}, "critic of ebgan gives no scores"),
        ("bigan", "cramer", {}, "critic of cramer gives no scores"),
        ("aegan", "gan", {"critic_minibatch": "std"}, "looks at batches"),
        *((name, "gan", {"classes": 3}, "are told classes") for name in ("bigan", "aegan", "alad")),
    ],
)
def test_who_cannot_judge(name: str, objective: str, model: dict[str, Any], said: str) -> None:
    chosen = config(name, model={"objective": objective, **model})
    with pytest.raises(BadConfig, match=said):
        judge_among(critics_of(chosen), chosen.model)
