"""Small games that can be worked out by hand, for the tests of pairings."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from models import pairings, regularisers
from models.config import Config
from models.objectives import gan
from models.pairings.pairing import Pairing, Turn

GAN = gan.OBJECTIVE


def config(pairing: str, **more: Any) -> Config:
    model = {"pairing": pairing, "network": "mlp", "vector": 3, "latent": 2, "width": 8}
    return Config.from_dict({**more, "model": model | more.get("model", {})})


def build(pairing: str, **more: Any) -> Pairing[Any]:
    made = config(pairing, **more)
    return pairings.build(made, regularisers.parse(made.regularisers))


def softplus(values: Tensor) -> np.ndarray:
    return np.log1p(np.exp(values.detach().numpy().astype(np.float64)))


def rng() -> torch.Generator:
    return torch.Generator().manual_seed(3)


def turn(update: int = 0) -> Turn:
    return Turn(rng=rng(), update=update)


def gradients(loss: Tensor, network: nn.Module) -> list[Tensor | None]:
    return list(
        torch.autograd.grad(loss, list(network.parameters()), retain_graph=True, allow_unused=True)
    )


def moved(losses: dict[str, Tensor], encoder: nn.Module, generator: nn.Module) -> dict[str, str]:
    """Whom each loss moves: "E", "G", "EG" or nobody."""
    both = (("E", encoder), ("G", generator))
    return {
        name: "".join(
            mark
            for mark, network in both
            if loss.requires_grad
            and any(g is not None and bool(g.abs().max() > 0) for g in gradients(loss, network))
        )
        for name, loss in losses.items()
    }


class Sum(nn.Module):
    """A critic that can be worked out by hand: the sum of what it sees."""

    def forward(self, sample: Tensor) -> Tensor:
        return sample.flatten(1).sum(1)


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
