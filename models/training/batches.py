"""Which images, which z and which noise an update sees: functions of (seed, number) alone.

Nothing here has a state, so a resumed run needs none restored: update 5,000 draws the same batch
whether or not the run was cut before it.
"""

from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import one_hot

from models.config import ModelConfig
from models.datasets.dataset import Dataset
from models.datasets.pixels import to_float
from models.networks.labelled import UNLABELLED

Purpose = Literal["order", "update", "batchnorm", "pictures", "weights", "flip", "unlabelled"]
PURPOSES: tuple[Purpose, ...] = get_args(Purpose)


def seed_of(seed: int, purpose: Purpose, number: int) -> int:
    """A 63-bit seed for one purpose and one number, far from those of its neighbours."""
    entropy = np.random.SeedSequence([seed, PURPOSES.index(purpose), number])
    return int(entropy.generate_state(1, np.uint64)[0] >> 1)


def rng_for(seed: int, purpose: Purpose, number: int, device: torch.device) -> torch.Generator:
    """A generator on `device` that has drawn nothing yet."""
    return torch.Generator(device).manual_seed(seed_of(seed, purpose, number))


def draw_prior(model: ModelConfig, rows: int, rng: torch.Generator, device: torch.device) -> Tensor:
    """z [B, Z] from N(0, 1) or U(-1, 1); of a mixed prior the last numbers say one category."""
    shape = rows, model.latent - model.categorical
    if model.prior == "uniform":
        free = torch.rand(shape, generator=rng, device=device) * 2 - 1
    else:
        free = torch.randn(shape, generator=rng, device=device)
    if not model.categorical:
        return free
    category = torch.randint(0, model.categorical, (rows,), generator=rng, device=device)
    return torch.cat([free, one_hot(category, model.categorical).to(free)], dim=1)


class Batches:
    """The batches of one run: every epoch a new order, a short last batch left out.

    With `flip` each image is reversed left to right or not, by a coin of its own; of the labels a
    share is `unlabelled`.  A thread gathers the next batch while the one before is trained on, by
    numpy: torch's own threads are the training's.
    """

    def __init__(
        self,
        data: Dataset,
        *,
        batch: int,
        seed: int,
        device: torch.device,
        flip: bool = False,
        unlabelled: float = 0.0,
    ) -> None:
        self.items = data.images
        self.is_images = self.items.ndim == 4
        self.labels = data.labels
        self.flip, self.unlabelled = flip, unlabelled
        # fewer items than a batch: each batch is the whole set
        self.batch, self.seed, self.device = min(batch, len(data)), seed, device
        self.per_epoch = len(data) // self.batch
        self._order = lru_cache(maxsize=2)(self._permutation)
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="batches")
        self._coming: tuple[int, Future[NDArray[Any]]] | None = None

    def at(self, number: int) -> Tensor:
        """Batch `number`, float32 [B, ...] on the device."""
        coming = self._coming
        awaited = coming is not None and coming[0] == number
        found = coming[1].result() if coming and awaited else self._gathered(number)
        if coming is None or coming[0] != number + 1:
            self._coming = number + 1, self._reader.submit(self._gathered, number + 1)
        items = torch.from_numpy(found).to(self.device, non_blocking=True)
        return to_float(items) if self.is_images else items

    def labels_at(self, number: int) -> Tensor | None:
        """The labels of batch `number`, int64 [B] on the device; None where there are none."""
        if self.labels is None:
            return None
        labels = self.labels[self._rows(number)]
        if self.unlabelled:
            labels[self._coins("unlabelled", number, len(labels), self.unlabelled)] = UNLABELLED
        return torch.from_numpy(labels).to(self.device, non_blocking=True)

    def _rows(self, number: int) -> NDArray[np.int64]:
        epoch, place = divmod(number, self.per_epoch)
        return self._order(epoch)[place * self.batch : (place + 1) * self.batch]

    def _gathered(self, number: int) -> NDArray[Any]:
        """The items of batch `number` as they are kept; of images about half reversed by `flip`."""
        items: NDArray[Any] = self.items[self._rows(number)]
        if self.flip:
            turned = self._coins("flip", number, len(items), 0.5)
            items[turned] = items[turned, :, ::-1]
        return items

    def _coins(self, purpose: Purpose, number: int, count: int, share: float) -> NDArray[np.bool_]:
        """Which of the whole batch's rows it comes up for, [count]."""
        return self._rng(purpose, number).random(count) < share

    def _permutation(self, epoch: int) -> NDArray[np.int64]:
        return self._rng("order", epoch).permutation(len(self.items))

    def _rng(self, purpose: Purpose, number: int) -> np.random.Generator:
        # numpy's: what torch draws may be for the rows of one worker alone
        return np.random.Generator(np.random.Philox(key=seed_of(self.seed, purpose, number)))
