"""One training step against a straightforward one of the same networks, in images per second.

    python -m benchmarks.train_step                       # bigan and aegan, 32x32x1 and 64x64x3
    python -m benchmarks.train_step --only bigan --sizes 32 --rounds 9
    python -m benchmarks.train_step --profile --only aegan --sizes 32
    python -m benchmarks.train_step --table               # from what was recorded

The straightforward step: float32, NCHW, torch.optim.Adam as it comes, E and G run afresh for the
critics' half and for their own half on the same batch.  Its second line freezes the critics in the
half of G and E.  Each is a process of its own, ours set up as `biject train` is.  Losses of all
three are compared over the first steps from equal weights; then they take turns on the clock.
"""

import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any, Final

import click
import numpy as np
import torch
from torch import Tensor

from benchmarks.plain_step import CPU, Plain
from benchmarks.processes import Reading
from benchmarks.records import QUIET, Record, Records, chosen
from models.config import Config
from models.datasets.dataset import Dataset
from models.training.batches import Batches
from models.training.memory import keep_memory
from models.training.step import Trainer
from serving.load.words import Numbers, table

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


def contender(kind: str, config: Config) -> Callable[[], dict[str, Tensor]]:
    """One of the three steps; all begin with equal weights."""
    shape = config.model.image or (0, 0, 0)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (8 * BATCH, *shape), np.uint8)
    batches = Batches(Dataset(images=images), batch=BATCH, seed=0, device=CPU)
    trainer = Trainer(config, CPU)
    plain = Plain(trainer, freeze=kind != "plain")
    return lambda: (trainer if kind == "ours" else plain).update(batches)


def first_totals(step: Callable[[], dict[str, Tensor]]) -> list[float]:
    """The totals of the first steps."""
    found = [step() for _ in range(CHECKED)]
    return [one[total].item() for one in found for total in ("critic/total", "pair/total")]


def apart(totals: Mapping[str, Sequence[float]]) -> float:
    """The largest relative difference of a total from ours."""
    pairs = [pair for other in totals.values() for pair in zip(totals["ours"], other, strict=True)]
    return max(abs(other / ours - 1) for ours, other in pairs)


def images_a_second(step: Callable[[], dict[str, Tensor]], seconds: float) -> float:
    """By the processor time of this process."""
    began, count = time.process_time(), 0
    while not count or time.process_time() - began < seconds:
        step()
        count += 1
    return BATCH * count / (time.process_time() - began)


def _work(asked: Connection, kind: str, config: Config, threads: int) -> None:
    """In a process of its own: the first totals, then so many seconds as often as asked."""
    torch.set_num_threads(threads)
    if kind == "ours":
        keep_memory()
    step = contender(kind, config)
    asked.send(first_totals(step))
    while True:
        asked.send(images_a_second(step, asked.recv()))


@contextmanager
def _working(config: Config, threads: int) -> Iterator[dict[str, Connection]]:
    """A process for each contender, and how to ask it."""
    context = multiprocessing.get_context("spawn")
    asked, processes = {}, []
    for kind in KINDS:
        asked[kind], theirs = context.Pipe()
        processes.append(context.Process(target=_work, args=(theirs, kind, config, threads)))
        processes[-1].start()
        theirs.close()  # whoever is asked and has died is an end of file
    try:
        yield asked
    finally:
        for process in processes:
            process.terminate()
            process.join()


def compared(
    config: Config, *, rounds: int, seconds: float, threads: int
) -> tuple[float, dict[str, list[float]]]:
    """How far totals are apart, and images per second in each round, in which all take turns."""
    with _working(config, threads) as asked:
        totals = {kind: each.recv() for kind, each in asked.items()}
        found: dict[str, list[float]] = {kind: [] for kind in asked}
        for _ in range(rounds):
            for kind, each in asked.items():
                each.send(seconds)
                found[kind].append(each.recv())
    return apart(totals), found


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

    On the clock is the processor time of each process: what others take does not count.
    """
    how = {"rounds": rounds, "seconds": seconds, "threads": threads, "width": width}
    records = Records("train_step", run, quiet=quiet, how=how)
    for pairing in chosen(only, PAIRINGS) if not only_table else ():
        for size in map(int, sizes):
            if records.has(pairing=pairing, size=size) and not profile:
                continue
            config = config_of(pairing, size, width)
            if profile:
                torch.set_num_threads(threads)
                _print_profiles(pairing, size, {kind: contender(kind, config) for kind in KINDS})
                continue
            reading = Reading.now()
            differ, found = compared(config, rounds=rounds, seconds=seconds, threads=threads)
            records.append(
                pairing=pairing, size=size, apart=differ, images=found, torch=torch.__version__,
                others=reading.others(),
            )  # fmt: skip
            print(f"{pairing} {size}: {ratios(found)}, apart {differ:.1e}", file=sys.stderr)
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
