"""Which images, which z and which noise an update sees: functions of (seed, number) alone.

Nothing here has a state, so a resumed run needs none restored: update 5,000 draws the same batch
whether or not the run was cut before it.
"""

from functools import lru_cache
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.config import Prior
from models.datasets.dataset import Dataset
from models.datasets.pixels import to_float

Purpose = Literal["order", "update", "batchnorm", "pictures", "weights", "flip"]
PURPOSES: tuple[Purpose, ...] = ("order", "update", "batchnorm", "pictures", "weights", "flip")


def seed_of(seed: int, purpose: Purpose, number: int) -> int:
    """A 63-bit seed for one purpose and one number, far from those of its neighbours."""
    entropy = np.random.SeedSequence([seed, PURPOSES.index(purpose), number])
    return int(entropy.generate_state(1, np.uint64)[0] >> 1)


def rng_for(seed: int, purpose: Purpose, number: int, device: torch.device) -> torch.Generator:
    """A generator on `device` that has drawn nothing yet."""
    return torch.Generator(device).manual_seed(seed_of(seed, purpose, number))


def draw_prior(
    prior: Prior, shape: tuple[int, int], rng: torch.Generator, device: torch.device
) -> Tensor:
    """z [B, Z] from N(0, 1) or U(-1, 1)."""
    if prior == "uniform":
        return torch.rand(shape, generator=rng, device=device) * 2 - 1
    return torch.randn(shape, generator=rng, device=device)


class Batches:
    """The batches of one run: every epoch a new order, a short last batch left out.

    With `flip` each image is reversed left to right or not, by a coin of its own.
    """

    def __init__(
        self,
        data: Dataset,
        *,
        batch: int,
        seed: int,
        device: torch.device,
        flip: bool = False,
    ) -> None:
        self.items = torch.from_numpy(data.images)
        self.is_images = self.items.dim() == 4
        self.flip = flip
        # fewer items than a batch: each batch is the whole set
        self.batch, self.seed, self.device = min(batch, len(data)), seed, device
        self.per_epoch = len(data) // self.batch
        self._order = lru_cache(maxsize=2)(self._permutation)

    def at(self, number: int) -> Tensor:
        """Batch `number`, float32 [B, ...] on the device."""
        epoch, place = divmod(number, self.per_epoch)
        rows = self._order(epoch)[place * self.batch : (place + 1) * self.batch]
        items = self.items[torch.from_numpy(rows)]
        if self.flip:
            items = self._flipped(items, number)
        items = items.to(self.device, non_blocking=True)
        return to_float(items) if self.is_images else items

    def _flipped(self, items: Tensor, number: int) -> Tensor:
        """Images [B, H, W, C], about half of them reversed left to right."""
        rng = rng_for(self.seed, "flip", number, items.device)
        turned = torch.rand(len(items), generator=rng) < 0.5
        return torch.where(turned[:, None, None, None], items.flip(2), items)

    def _permutation(self, epoch: int) -> NDArray[np.int64]:
        rng = np.random.Generator(np.random.Philox(key=seed_of(self.seed, "order", epoch)))
        return rng.permutation(len(self.items))
