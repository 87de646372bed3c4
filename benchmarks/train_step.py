"""One training step against a straightforward one of the same networks, in images per second.

    python -m benchmarks.train_step                       # bigan and aegan, 32x32x1 and 64x64x3
    python -m benchmarks.train_step --only bigan --sizes 32 --rounds 9
    python -m benchmarks.train_step --profile --only aegan --sizes 32
    python -m benchmarks.train_step --table               # from what was recorded

The straightforward step: float32, NCHW, torch.optim.Adam as it comes, E and G run afresh for the
critics' half and for their own half on the same batch.  Its second line freezes the critics in the
half of G and E.  Losses of all three are compared over the first steps from equal weights; then the
three take turns on the clock.
"""

import statistics
import sys
import time
from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import Any, Final, TypeVar

import click
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, l1_loss, mse_loss

from benchmarks.processes import Reading
from benchmarks.records import QUIET, Record, Records, chosen
from models.config import Config
from models.datasets.dataset import Dataset
from models.networks.holding import held
from models.training.batches import Batches, draw_prior, rng_for
from models.training.memory import keep_memory
from models.training.step import Trainer
from serving.load.words import Numbers, table

CPU: Final = torch.device("cpu")
PAIRINGS: Final = ("bigan", "aegan")
CHANNELS: Final = {32: 1, 64: 3}
BATCH: Final = 64
CHECKED: Final = 3  # first steps whose losses must agree
KINDS: Final = ("ours", "plain", "plain, frozen")
TARGETS: Final = {"plain": 1.4, "plain, frozen": 1.25}
PROFILED: Final = 3  # steps
# of torch's operations
KINDS_OF_WORK: Final = {
    "convolutions forward": ("aten::mkldnn_convolution", "aten::_convolution",
                             "aten::_slow_conv2d_forward"),
    "convolutions backward": ("aten::convolution_backward",),
    "dense layers": ("aten::mm", "aten::addmm"),
    "BatchNorm": ("aten::native_batch_norm", "aten::native_batch_norm_backward"),
    "optimisers and averages": (
        "aten::_fused_adam_", "aten::_foreach_lerp_", "aten::lerp_", "aten::sqrt", "aten::div",
        "aten::addcmul_", "aten::addcdiv_", "aten::mul_",
    ),
    "copies": ("aten::copy_",),
}  # fmt: skip


def config_of(pairing: str, size: int, width: int) -> Config:
    """What is trained: the defaults of a config, at this size."""
    return Config.from_dict(
        {
            "model": {"pairing": pairing, "image": [size, size, CHANNELS[size]], "width": width},
            "train": {"batch": BATCH},
        }
    )


_Network = TypeVar("_Network", bound=nn.Module)


class Plain:
    """The step as one would write it down first."""

    def __init__(self, trainer: Trainer, *, freeze: bool) -> None:
        """Its networks start with the weights of `trainer`'s."""
        self.encoder = _in_rows(trainer.encoder)
        self.generator = _in_rows(trainer.generator)
        self.critics = _in_rows(trainer.critics)
        self.freeze, self.config, self.step = freeze, trainer.config, 0
        train = trainer.config.train
        pair = [*self.encoder.parameters(), *self.generator.parameters()]
        self.pair_optimiser = torch.optim.Adam(pair, lr=train.lr, betas=train.betas)
        critics = self.critics.parameters()
        self.critic_optimiser = torch.optim.Adam(critics, lr=train.critic_lr, betas=train.betas)
        losses = {"bigan": (_bigan_critic, _bigan_pair), "aegan": (_aegan_critic, _aegan_pair)}
        self.critic_loss, self.pair_loss = losses[trainer.config.model.pairing]

    def update(self, batches: Batches) -> dict[str, Tensor]:
        """One step; both totals."""
        rng = rng_for(self.config.train.seed, "update", self.step, CPU)
        x = batches.at(self.step).contiguous()
        z = draw_prior(self.config.model, len(x), rng, CPU)
        critic = self.critic_loss(self.encoder, self.generator, self.critics, x, z)
        self.critic_optimiser.zero_grad()
        critic.backward()
        self.critic_optimiser.step()
        if self.freeze:
            with held(self.critics):
                pair = self._pair(x, z)
        else:
            pair = self._pair(x, z)
        self.step += 1
        return {"critic/total": critic.detach(), "pair/total": pair.detach()}

    def _pair(self, x: Tensor, z: Tensor) -> Tensor:
        pair = self.pair_loss(self.encoder, self.generator, self.critics, x, z)
        self.pair_optimiser.zero_grad()
        pair.backward()
        self.pair_optimiser.step()
        return pair


def _in_rows(network: _Network) -> _Network:
    """A copy in NCHW, as networks are built."""
    # torch's annotations lack memory_format
    copy: _Network = deepcopy(network).to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    return copy


def _bce(scores: Tensor, target: float) -> Tensor:
    return binary_cross_entropy_with_logits(scores, torch.full_like(scores, target))


def _bigan_critic(e: nn.Module, g: nn.Module, d: nn.ModuleDict, x: Tensor, z: Tensor) -> Tensor:
    with torch.no_grad():
        code, sample = e(x), g(z)
    return _bce(d["joint"](x, code), 1) + _bce(d["joint"](sample, z), 0)


def _bigan_pair(e: nn.Module, g: nn.Module, d: nn.ModuleDict, x: Tensor, z: Tensor) -> Tensor:
    code, sample = e(x), g(z)
    return _bce(d["joint"](x, code), 0) + _bce(d["joint"](sample, z), 1)


def _aegan_parts(
    e: nn.Module, g: nn.Module, x: Tensor, z: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    code = e(x)
    sample, again = g(torch.cat([z, code])).chunk(2)  # one batch, so that BatchNorm sees the same
    return code, sample, again, e(sample)


def _aegan_critic(e: nn.Module, g: nn.Module, d: nn.ModuleDict, x: Tensor, z: Tensor) -> Tensor:
    with torch.no_grad():
        code, sample, again, cycle = _aegan_parts(e, g, x, z)
    image, latent = d["image"], d["latent"]
    return (
        _bce(image(x), 0.95) + (_bce(image(sample), 0.05) + _bce(image(again), 0.05)) / 2
        + _bce(latent(z), 0.95) + (_bce(latent(code), 0.05) + _bce(latent(cycle), 0.05)) / 2
    )  # fmt: skip


def _aegan_pair(e: nn.Module, g: nn.Module, d: nn.ModuleDict, x: Tensor, z: Tensor) -> Tensor:
    code, sample, again, cycle = _aegan_parts(e, g, x, z)
    return (
        _bce(d["image"](sample), 1) + _bce(d["image"](again), 1)
        + _bce(d["latent"](code), 1) + _bce(d["latent"](cycle), 1)
        + 10 * l1_loss(again, x) + 5 * mse_loss(cycle, z)
    )  # fmt: skip


def contenders(config: Config) -> tuple[dict[str, Callable[[], dict[str, Tensor]]], Batches]:
    """The three steps from equal weights, by name."""
    shape = config.model.image or (0, 0, 0)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (8 * BATCH, *shape), np.uint8)
    batches = Batches(Dataset(images=images), batch=BATCH, seed=0, device=CPU)
    trainer = Trainer(config, CPU)
    plain, frozen = Plain(trainer, freeze=False), Plain(trainer, freeze=True)
    steps = {
        "ours": lambda: trainer.update(batches),
        "plain": lambda: plain.update(batches),
        "plain, frozen": lambda: frozen.update(batches),
    }
    return steps, batches


def checked(steps: dict[str, Callable[[], dict[str, Tensor]]]) -> float:
    """The largest relative difference of a total over the first steps."""
    worst = 0.0
    for _ in range(CHECKED):
        found = {name: step() for name, step in steps.items()}
        for total in ("critic/total", "pair/total"):
            ours, *others = (losses[total].item() for losses in found.values())
            worst = max(worst, *(abs(other / ours - 1) for other in others))
    return worst


def timed(
    steps: dict[str, Callable[[], dict[str, Tensor]]], *, rounds: int, seconds: float
) -> dict[str, list[float]]:
    """Images per second in each round, in which all take turns."""
    found: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            began, count = time.process_time(), 0
            while not count or time.process_time() - began < seconds:
                step()
                count += 1
            found[name].append(BATCH * count / (time.process_time() - began))
    return found


def profiled(step: Callable[[], dict[str, Tensor]]) -> dict[str, float]:
    """Milliseconds of one step by kind of operation, the mean of a few."""
    step()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        for _ in range(PROFILED):
            step()
    spent = dict.fromkeys([*KINDS_OF_WORK, "the rest"], 0.0)
    for each in profile.key_averages():
        kind = next(
            (kind for kind, names in KINDS_OF_WORK.items() if each.key in names), "the rest"
        )
        spent[kind] += each.self_cpu_time_total / 1e3 / PROFILED
    return spent


@click.command()
@click.option("--only", metavar="PAIRING,...", default=",".join(PAIRINGS), show_default=True)
@click.option("--sizes", type=Numbers(int), default="32,64", show_default=True)
@click.option("--width", type=click.IntRange(1), default=64, show_default=True)
@click.option("--rounds", type=click.IntRange(1), default=7, show_default=True)
@click.option("--seconds", type=click.FloatRange(0), default=2.0, show_default=True)
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True)
@click.option("--run", metavar="NAME", help="What the records go by.  [default: the commit]")
@click.option("--profile", is_flag=True, help="Print where the time goes; record nothing.")
@QUIET
@click.option("--table", "only_table", is_flag=True, help="Measure nothing.")
def main(
    only: str, sizes: list[float], width: int, rounds: int, seconds: float, threads: int,
    run: str | None, profile: bool, quiet: float, only_table: bool,
) -> None:  # fmt: skip
    """Compare a step with a straightforward one; results go to benchmarks/results/train_step.jsonl.

    On the clock is the processor time of this process: what others take does not count.
    """
    how = {"rounds": rounds, "seconds": seconds, "threads": threads, "width": width}
    records = Records("train_step", run, quiet=quiet, how=how)
    torch.set_num_threads(threads)
    keep_memory()
    for pairing in chosen(only, PAIRINGS) if not only_table else ():
        for size in map(int, sizes):
            if records.has(pairing=pairing, size=size) and not profile:
                continue
            reading = Reading.now()
            steps, _ = contenders(config_of(pairing, size, width))
            apart = checked(steps)
            if profile:
                _print_profiles(pairing, size, steps)
                continue
            found = timed(steps, rounds=rounds, seconds=seconds)
            records.append(
                pairing=pairing, size=size, apart=apart, images=found, torch=torch.__version__,
                others=reading.others(),
            )  # fmt: skip
            print(f"{pairing} {size}: {ratios(found)}, apart {apart:.1e}", file=sys.stderr)
    if not profile:
        print(records.told(printed, only_table=only_table, last=run is None))


def ratios(images: dict[str, list[float]]) -> dict[str, float]:
    """How many times the speed of each other ours is, by the median of the rounds."""
    return {
        name: round(
            statistics.median(a / b for a, b in zip(images["ours"], images[name], strict=True)), 2
        )
        for name in TARGETS
    }


def printed(records: Sequence[Record]) -> str:
    """The table, as text."""
    return table(lines(records))


def lines(records: Sequence[Record]) -> list[tuple[str, ...]]:
    """The table of these records, the headings first."""
    heads = ("pairing", "images", *(f"{kind}/s" for kind in KINDS),
             *(f"ours / {name} (>= {target})" for name, target in TARGETS.items()),
             "losses apart by")  # fmt: skip
    rows = []
    for one in sorted(records, key=lambda one: (PAIRINGS.index(one["pairing"]), one["size"])):
        found, size = ratios(one["images"]), one["size"]
        rows.append(
            (one["pairing"], f"{size}x{size}x{CHANNELS[size]}",
             *(f"{statistics.median(one['images'][kind]):,.0f}" for kind in KINDS),
             *(f"{found[name]:.2f}" for name in TARGETS), f"{one['apart']:.0e}")
        )  # fmt: skip
    return [heads, *rows]


def _print_profiles(pairing: str, size: int, steps: dict[str, Any]) -> None:
    found = {name: profiled(step) for name, step in steps.items()}
    rows = [
        (kind, *(f"{found[name][kind]:,.0f}" for name in KINDS))
        for kind in (*KINDS_OF_WORK, "the rest")
    ]
    print(f"ms of one step of {pairing}, {size}x{size}x{CHANNELS[size]}, by the clock")
    print(table([("", *KINDS), *rows]))


if __name__ == "__main__":
    main()
