"""One run by several processes, as torchrun starts them: each takes its rows of every batch.

Every worker draws the whole batch's z and noise and keeps those of its own rows; slopes and losses
are averaged over the workers before a step.  So all of them hold the same weights at any time, and
losses are those of one process with the same batch, but for BatchNorm on a CPU, whose statistics
are those of a worker's own rows; on CUDA they are those of all workers' rows.

The averages are explicit, after `backward`: DistributedDataParallel wraps one network whose loss is
differentiated once, while a step here has three networks or more, two losses that share a pass, and
penalties that differentiate a slope (which it does not support).
"""

import os
import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from types import FrameType
from typing import Final

import torch
from torch import Tensor, distributed, nn

from models.errors import BadConfig, WorkerLost
from models.pairings.terms import Losses
from models.training.draws import Draw, RowDraws

PATIENCE: Final = timedelta(minutes=10)  # with a worker that is silent


@dataclass(frozen=True, kw_only=True, slots=True)
class Workers:
    """Which of how many workers this process is."""

    rank: int = 0
    count: int = 1

    @property
    def leads(self) -> bool:
        """Whether this is the one that writes and speaks."""
        return self.rank == 0

    def own(self, batch: Tensor) -> Tensor:
        """This worker's rows of a batch [B, ...], which every worker has whole."""
        return batch if self.count == 1 else batch.chunk(self.count)[self.rank]

    def draws(self) -> RowDraws | nullcontext[None]:
        """While it is entered, what is drawn for own rows is what those of the batch would get."""
        return nullcontext() if self.count == 1 else _OwnRows(self)

    def synchronised(self, network: nn.Module, device: torch.device) -> nn.Module:
        """`network`, in place, with every BatchNorm measuring the rows of all workers, on CUDA.

        Weights and names stay what they are.  Torch has no such norm for a CPU.
        """
        if self.count == 1 or device.type != "cuda":
            return network
        synchronised: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(network)
        return synchronised

    def check_batch(self, batch: int) -> None:
        """Raise BadConfig where the workers cannot share a batch evenly."""
        if batch % self.count or batch < 2 * self.count:
            raise BadConfig(
                f"{self.count} workers cannot share a batch of {batch} evenly, two items or more "
                "each: choose another train.batch"
            )

    def average_slopes(self, weights: Iterable[nn.Parameter]) -> None:
        """Make every weight's slope its mean over the workers, in place.  Raises WorkerLost."""
        if self.count == 1:
            return
        slopes = [weight.grad for weight in weights if weight.grad is not None]
        whole = torch.cat([slope.flatten() for slope in slopes])
        self._average(whole)
        sizes = [slope.numel() for slope in slopes]
        for slope, mean in zip(slopes, whole.split(sizes), strict=True):
            slope.copy_(mean.view_as(slope))

    def average(self, losses: Losses) -> Losses:
        """The means over the workers, cut off from any graph.  Raises WorkerLost."""
        if self.count == 1:
            return losses
        means = torch.stack([loss.detach().float() for loss in losses.values()])
        self._average(means)
        return dict(zip(losses, means.unbind(), strict=True))

    def wait(self) -> None:
        """Go on when every worker has come here.  Raises WorkerLost."""
        if self.count > 1:
            with _losses_of_workers():
                distributed.barrier()

    def _average(self, values: Tensor) -> None:
        with _losses_of_workers():
            distributed.all_reduce(values)  # gloo has no mean
        values /= self.count


ALONE: Final = Workers()


class _OwnRows(RowDraws):
    """Draws for the whole batch, of which a worker's rows are kept."""

    def __init__(self, workers: Workers) -> None:
        super().__init__()
        self.workers = workers

    def rows(self, draw: Draw, count: int, rng: torch.Generator) -> Tensor:
        """This worker's of `count` rows for each worker."""
        return self.workers.own(draw(count * self.workers.count, rng))


@contextmanager
def gathered(device: str) -> Iterator[Workers]:
    """The workers that torchrun started; this process alone where none did.

    They meet over NCCL on CUDA, each on the GPU of its number on its machine, else over gloo.
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield ALONE
        return
    cuda = device == "cuda" or (device == "auto" and torch.cuda.is_available())
    if cuda:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    signal.signal(signal.SIGTERM, _told_to_stop)  # torchrun's, when another worker has died
    distributed.init_process_group("nccl" if cuda else "gloo", timeout=PATIENCE)
    try:
        yield Workers(rank=distributed.get_rank(), count=count)
    finally:
        distributed.destroy_process_group()


def here() -> int:
    """How many workers share this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def _told_to_stop(number: int, frame: FrameType | None) -> None:
    raise WorkerLost("told to stop, as when another worker was lost")


@contextmanager
def _losses_of_workers() -> Iterator[None]:
    """A connection that breaks, in one sentence."""
    try:
        yield
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise WorkerLost(f"another worker was lost ({reason})") from error
