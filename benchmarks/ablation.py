"""AEGAN against its parts: which of them does what, and which claims of its article hold.

    python -m benchmarks.ablation                       # all variants; again: what is missing
    python -m benchmarks.ablation --only gan,aegan --seed 1
    python -m benchmarks.ablation --write               # docs/ablation.md and its picture

Each variant is a config that `biject train` takes (benchmarks/ablation_variants.py), trained by the
same Trainer on one thread, and judged at the same numbers of updates of G.  It is written down when
it is done.
"""

import math
import os
import sys
import time
from pathlib import Path
from typing import Any, Final

import click
import torch

from benchmarks.ablation_document import write
from benchmarks.ablation_judge import CPU, Judge, collapsed
from benchmarks.ablation_variants import VARIANTS, Variant, shared
from benchmarks.records import Records, chosen
from models.config import Config
from models.errors import Diverged
from models.training.batches import Batches
from models.training.loop import read_data
from models.training.step import Trainer

CHECKPOINTS: Final = (200, 500, 1000, 1500)  # updates of G


class Ablation:
    """What all variants share: the data and the judge."""

    def __init__(self, shared: Config, *, steps: int, judged: int) -> None:
        """Read the data and train the judge for `judged` steps."""
        self.shared, self.steps = shared, steps
        self.at = sorted({*(step for step in CHECKPOINTS if step < steps), steps})
        whole = read_data(shared)
        # one split for all seeds, or the judge would have seen what it compares with
        self.train, held_out = whole.held_out(shared.data.holdout, 0)
        self.judge = Judge(self.train, held_out, steps=judged)

    def measure(self, variant: Variant, seed: int) -> dict[str, Any]:
        """Train a variant; its figures at every checkpoint until it diverged."""
        config = variant.config(self.shared, steps=self.steps, seed=seed)
        trainer = Trainer(config, CPU)
        batches = Batches(self.train, batch=config.train.batch, seed=seed, device=CPU)
        curve: list[dict[str, Any]] = []
        seconds, why = 0.0, None
        for step in self.at:
            began = time.process_time()
            why = _trained(trainer, batches, step)
            seconds += time.process_time() - began
            if why:
                break
            trainer.refresh_batchnorm(batches)
            found = self.judge.figures(*_exported(trainer), config.model, encodes=variant.encodes)
            rounded = {name: _short(value) for name, value in found.items()}
            curve.append({"step": step, "seconds": round(seconds, 1), **rounded})
        return {
            "curve": curve,
            "strip": self.judge.strip(*_exported(trainer), config.model, encodes=variant.encodes),
            "floor": {name: _short(value) for name, value in self.judge.floor.items()},
            "diverged": why,
        }


def _trained(trainer: Trainer, batches: Batches, step: int) -> str | None:
    """Train up to `step`; the sentence of a loss that is not finite, where training stops."""
    while trainer.step < step:
        losses = trainer.update(batches)
        if not all(math.isfinite(loss.item()) for loss in losses.values()):
            return str(Diverged(trainer.step, "a loss"))
    return None


def _exported(trainer: Trainer) -> tuple[torch.nn.Module, torch.nn.Module]:
    return trainer.averaged_encoder, trainer.averaged_generator


def _short(value: float) -> float:
    return value if isinstance(value, int) else float(f"{value:.4g}")


@click.command()
@click.option(
    "--data", metavar="DATA",
    default=lambda: str(Path(os.environ.get("BIJECT_DATA", "data")) / "fashion-mnist"),
    help="Labelled images, as biject train takes them.  [default: $BIJECT_DATA/fashion-mnist]",
)  # fmt: skip
@click.option("--only", metavar="NAME,...", default=",".join(VARIANTS), show_default=True)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--steps", type=click.IntRange(1), default=CHECKPOINTS[-1], show_default=True)
@click.option("--size", type=click.IntRange(16), default=32, show_default=True, help="Pixels.")
@click.option("--width", type=click.IntRange(1), default=16, show_default=True)
@click.option("--batch", type=click.IntRange(2), default=32, show_default=True)
@click.option("--judged", type=click.IntRange(1), default=600, help="Steps of the classifier.")
@click.option("--run", metavar="NAME", help="What the records go by.  [default: the commit]")
@click.option("--write", "only_write", is_flag=True, help="Train nothing; write docs/ablation.md.")
def main(
    data: str, only: str, seed: int, steps: int, size: int, width: int, batch: int,
    judged: int, run: str | None, only_write: bool,
) -> None:  # fmt: skip
    """Train what is missing of a run; results go to benchmarks/results/ablation.jsonl."""
    how = {"steps": steps, "size": size, "width": width, "batch": batch}
    records = Records("ablation", run, how=how)
    if only_write:
        found = records.of_run(run) if run else records.last()
        if not found:
            raise click.ClickException("nothing was recorded yet")
        write(found)
        return
    torch.set_num_threads(1)
    names = [n for n in chosen(only, list(VARIANTS)) if not records.has(variant=n, seed=seed)]
    if not names:
        return
    common = shared(data, size=size, width=width, batch=batch)
    ablation = Ablation(common, steps=steps, judged=judged)
    for name in names:
        measured = ablation.measure(VARIANTS[name], seed)
        records.append(variant=name, seed=seed, torch=torch.__version__, **measured)
        for one in measured["curve"]:
            told = ", ".join(f"{key} {one[key]}" for key in ("step", "seconds", "frechet"))
            print(f"{name}: {told} {' '.join(collapsed(one))}".rstrip(), file=sys.stderr)


if __name__ == "__main__":
    main()
