"""Networks that are told the class of each row: E(x, y), G(z, y) and critics of them.

Mirza and Osindero 2014 (CGAN), arXiv:1411.1784, section 3.2: y goes into G and the critic beside
what they take; Dumoulin et al. 2017 (ALI), arXiv:1606.00704, section 4.4: into E too.  Here y is a
learned vector that is laid beside the first thing a network takes: further numbers of a code or a
vector, further planes of an image, each of one value.

A share of the rows goes without its label while training, so that one pair of networks also answers
where nobody knows y (Ho and Salimans 2022, arXiv:2207.12598, section 3.2): for them there is one
vector more.
"""

from typing import Any, Final

import torch
from torch import Tensor, nn

from models.networks.once import Once

UNLABELLED: Final = -1  # the label of a row whose class is not told
SIZE: Final = 8  # numbers that stand for a label


class Labelled(nn.Module):
    """`network`, which takes SIZE numbers or planes more than there are, told of `classes`."""

    def __init__(self, network: nn.Module, classes: int) -> None:
        super().__init__()
        self.network = network
        self.embed = nn.Embedding(classes + 1, SIZE)  # the last: UNLABELLED

    def forward(self, labels: Tensor, first: Tensor, *others: Tensor) -> Any:
        """What the network makes of its parts, [B, ...] each, with labels int64 [B]."""
        return self.network(self.beside(labels, first), *others)

    def beside(self, labels: Tensor, first: Tensor) -> Tensor:
        """`first` with its labels, [B, D + SIZE] or [B, C + SIZE, H, W].

        A label that is none of 0 .. classes - 1 is taken modulo classes + 1, as -1 is: it is never
        an error, which in a batch would be everybody's.
        """
        told = self.embed(labels.remainder(self.embed.num_embeddings)).to(first.dtype)
        if first.dim() == 4:
            told = told[:, :, None, None].expand(-1, -1, first.shape[2], first.shape[3])
        return torch.cat([first, told], dim=1)


class Told(nn.Module):
    """A `Labelled` with the labels of one batch: called as the same network without labels.

    Given several batches one after another, it tells each of them the same labels.
    """

    def __init__(self, labelled: Labelled, labels: Tensor) -> None:
        super().__init__()
        self.labelled = labelled
        self.labels = labels

    def forward(self, first: Tensor, *others: Tensor) -> Any:
        """What the network makes of its parts."""
        return self.labelled(self._for(first), first, *others)

    def features(self, first: Tensor, *others: Tensor) -> Any:
        """The same of a critic's features."""
        inner: Any = self.labelled.network
        return inner.features(self.labelled.beside(self._for(first), first), *others)

    def judged(self, features: Tensor) -> Any:
        """The same of what a critic says of features, which know the labels already."""
        inner: Any = self.labelled.network
        return inner.judged(features)

    def gaussian(self, x: Tensor) -> Any:
        """The same of an encoder that gives distributions."""
        inner: Any = self.labelled.network
        return inner.gaussian(self.labelled.beside(self._for(x), x))

    def _for(self, first: Tensor) -> Tensor:
        return self.labels.repeat(len(first) // len(self.labels))


def told(network: nn.Module, labels: Tensor | None) -> Any:
    """`network` with the labels [B] of a batch; one that takes none as it is."""
    if not isinstance(network, Labelled):
        return network
    if labels is None:
        labels = torch.full((1,), UNLABELLED, device=network.embed.weight.device)
    return Told(network, labels)


def untold(network: nn.Module) -> nn.Module:
    """The network inside, which takes labels for numbers or planes like others."""
    if isinstance(network, Once):
        network = network.critic
    return network.labelled.network if isinstance(network, Told) else network
