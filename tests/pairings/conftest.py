"""A pair of networks and a batch."""

import pytest
import torch
from torch import Tensor, nn


@pytest.fixture
def pair() -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    return nn.Linear(3, 2), nn.Linear(2, 3)


@pytest.fixture
def x() -> Tensor:
    return torch.randn(5, 3, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def z() -> Tensor:
    return torch.randn(5, 2, generator=torch.Generator().manual_seed(2))
