"""DRAGAN against numpy on critics whose slope is known."""

import numpy as np
import pytest
import torch
from torch import Tensor

from models import regularisers
from models.errors import BadConfig, UnknownName
from models.regularisers import Dragan
from models.regularisers.dragan_penalty import dragan_penalty

SHAPE = (4, 3, 6, 5)


def drawn(seed: int, shape: tuple[int, ...] = SHAPE) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def rng() -> torch.Generator:
    return torch.Generator().manual_seed(9)


def test_a_linear_critic_pays_for_its_length_wherever_it_is_asked() -> None:
    slope = drawn(1)[0]
    penalty = dragan_penalty(lambda x: (x * slope).flatten(1).sum(1), drawn(2), rng=rng())
    assert penalty.item() == pytest.approx((np.linalg.norm(slope) - 1) ** 2, rel=1e-5)


@pytest.mark.parametrize("noise", [0.5, 2.0])
def test_the_slope_is_taken_at_x_moved_by_a_share_of_its_spread(noise: float) -> None:
    x = 3 * drawn(1)
    penalty = dragan_penalty(lambda x: x.square().flatten(1).sum(1) / 2, x, rng=rng(), noise=noise)
    share = torch.rand(SHAPE, generator=rng()).numpy()
    place = x.numpy() + noise * x.numpy().std(ddof=1) * share  # its slope there is itself
    lengths = np.sqrt(np.square(place).reshape(4, -1).sum(1))
    assert penalty.item() == pytest.approx(np.square(lengths - 1).mean(), rel=1e-4)


def test_a_code_beside_x_is_neither_moved_nor_differentiated() -> None:
    x, z = drawn(1), drawn(2, (4, 2)).requires_grad_()
    penalty = dragan_penalty(lambda x, z: x.flatten(1).sum(1) * z.sum(1), x, z, rng=rng())
    lengths = np.sqrt(x[0].numel()) * np.abs(z.detach().numpy().sum(1))
    assert penalty.item() == pytest.approx(np.square(lengths - 1).mean(), rel=1e-4)
    assert not penalty.requires_grad


def test_settings_are_read_and_wrong_ones_refused() -> None:
    assert regularisers.parse({"dragan": 5}).dragan == Dragan(weight=5)
    chosen = regularisers.parse({"dragan": {"weight": 5, "noise": 1}}).dragan
    assert chosen == Dragan(weight=5, noise=1)
    assert regularisers.parse({"dragan": 0}).dragan is None
    for wrong in (-1, True, "much", {"noise": 0.0}, {"noise": "loud"}):
        with pytest.raises(BadConfig, match=r"regularisers\.dragan"):
            regularisers.parse({"dragan": wrong})
    with pytest.raises(UnknownName, match="noise, weight"):
        regularisers.parse({"dragan": {"sigma": 1}})
