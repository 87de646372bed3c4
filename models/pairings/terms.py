"""Losses by name, each with its weight, and their total."""

from typing import NamedTuple

import torch
from torch import Tensor

Losses = dict[str, Tensor]  # scalars by name; "total" is what the optimiser sees


class Term(NamedTuple):
    """One loss, and what it counts."""

    loss: Tensor  # scalar
    weight: float | None = 1.0  # None: a figure for the log alone


Terms = dict[str, Term]


def added(terms: Terms) -> Losses:
    """Every term as it is, and their weighted sum as "total"."""
    weighed = [
        t.loss if t.weight == 1 else t.weight * t.loss
        for t in terms.values()
        if t.weight is not None
    ]
    losses = {name: term.loss for name, term in terms.items()}
    return {**losses, "total": torch.stack(weighed).sum()}
