"""Modes captured by every objective, with and without the pair-wise penalty, on known densities.

    python -m benchmarks.modes --only claim     # the article's: 8,000 steps on the ring
    python -m benchmarks.modes                  # all parts; again: what is missing
    python -m benchmarks.modes --only grid --objectives gan,lsgan --steps 4000
    python -m benchmarks.modes --write          # docs/modes.md and its picture from the records

A cell is a density, an objective and a remedy; its seeds are trained side by side where the
objective lets them share a batch (benchmarks/stacked.py), else one after another, on one thread.
Each cell is written down when it is done.
"""

import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

import click
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmarks.mode_rules import Nearest
from benchmarks.modes_document import write
from benchmarks.records import ROOT, Record, Records, chosen
from benchmarks.stacked import CPU, Stack, StackedBatches, StackedTrainer, stacks
from models import choices, objectives, pairings
from models.config import Config
from models.datasets import load_vectors, toy
from models.errors import BadConfig, Diverged
from models.training.batches import Batches
from models.training.step import Trainer

SAMPLES: Final = 10_000  # per seed
SHOWN: Final = 400  # of them are kept, of one seed, to draw
HELD: Final = 2_000  # real points on which reconstructions are measured
REMEDIES: Final = ("none", "pairwise", "pairwise squared")
RING: Final = ROOT / "models" / "configs" / "ring.toml"

# what the guide tells a reader to set, at a toy's bounds and with fewer steps of the critics
WANTS: Final[dict[str, tuple[str, ...]]] = {
    "hinge": ("model.critic_norm=spectral",),
    "wgan": ("regularisers.clip=0.1", "train.optimiser=rmsprop", "train.critic_steps=2"),
    "wgan-gp": ("train.critic_steps=2",),
    "rwgan": ("regularisers.clip={low=-0.05,high=0.1}", "train.optimiser=rmsprop",
              "train.critic_steps=2"),
    "fisher": ("train.critic_steps=2", "objective.rho=1e-4"),
    "mcgan-mean": ("regularisers.clip=0.1", "train.optimiser=rmsprop", "train.critic_steps=2"),
    "mcgan-covariance": ("regularisers.clip=0.1", "train.optimiser=rmsprop",
                         "train.critic_steps=2"),
    "mmd-gan": ("train.critic_steps=2",),
    "cramer": ("train.critic_steps=2",),
    "ebgan": ("model.prior=uniform",),
    "began": ("model.prior=uniform", "train.lr=5e-4", "train.critic_lr=5e-4"),
    "magan": ("model.prior=uniform", "train.optimiser=adamax"),
}  # fmt: skip
PAIRING_WANTS: Final[dict[str, tuple[str, ...]]] = {
    "alad": ("model.critic_norm=spectral", "model.encoder_norm=spectral"),
}
GAMES: Final = tuple(name for name in pairings.PAIRINGS if name != "bigan")
# the penalty stands in place of these
BOUNDS: Final = ("regularisers.clip", "model.critic_norm")
LATENT: Final = {"ring": 1, "double-ring": 2, "grid": 2, "swiss-roll": 1, "heavy-centre": 8}
STEPS: Final = {"claim": 8000, "ring": 1500, "pairings": 1500, "grid": 1500, "double-ring": 1500,
                "swiss-roll": 1500, "heavy-centre": 1500}  # fmt: skip
FIVE: Final = ("gan", "linear", "lsgan", "wgan-gp", "saturating")
PLAYED: Final = {"claim": ("linear", "gan"), "double-ring": FIVE, "swiss-roll": FIVE,
                 "heavy-centre": FIVE}  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """One row of the table."""

    density: str
    objective: str
    remedy: str
    steps: int
    pairing: str = "bigan"

    @property
    def rate(self) -> float:
        """That of the config; where steps are few, five times as much."""
        return 2e-4 if self.steps >= STEPS["claim"] else 1e-3

    @property
    def key(self) -> dict[str, Any]:
        """What its record goes by."""
        return asdict(self)

    def config(self, *, width: int, batch: int) -> Config:
        """What its seeds are trained with.  Raises BadConfig where the choices do not agree."""
        penalised = self.remedy != "none"
        form = "squared" if self.remedy == "pairwise squared" else "norm"
        penalty = f"{{weight={0.1 if penalised else 0.0}, form='{form}'}}"
        wants = (*WANTS.get(self.objective, ()), *PAIRING_WANTS.get(self.pairing, ()))
        if penalised:
            wants = tuple(one for one in wants if not one.startswith(BOUNDS))
        if self.objective != "gmmn":  # which has no critic
            wants = (f"train.critic_lr={self.rate}", *wants)
        vector = toy.find(self.density).places.shape[1]
        overrides = (
            f"data.path=toy:{self.density}", f"model.vector={vector}",
            f"model.pairing={self.pairing}",
            f"model.objective={self.objective}", f"model.latent={LATENT[self.density]}",
            f"model.width={width}", f"train.batch={batch}", f"train.steps={self.steps}",
            f"train.lr={self.rate}",
            f"regularisers.pairwise={penalty}", "train.threads=1",
            f"train.polish={self.steps // 2 if self.pairing == 'fanogan' else 0}", *wants,
        )  # fmt: skip
        return choices.resolve(Config.read(RING, overrides))


def cells(parts: Sequence[str], names: Sequence[str], steps: int) -> list[Cell]:
    """The cells of these parts that play these objectives; `steps` 0: each part's own."""
    made = []
    for part in parts:
        own = steps or STEPS[part]
        for remedy in REMEDIES if part == "claim" else REMEDIES[:2]:
            if part == "pairings":
                made += [
                    Cell(density="ring", objective="gan", remedy=remedy, steps=own, pairing=pairing)
                    for pairing in GAMES
                ]
                continue
            density = "ring" if part == "claim" else part
            made += [
                Cell(density=density, objective=name, remedy=remedy, steps=own)
                for name in names
                if name in PLAYED.get(part, names)
            ]
    return made


def measure(cell: Cell, seeds: Sequence[int], *, width: int, batch: int) -> dict[str, Any]:
    """Train a cell; a list with an entry per seed under every figure."""
    config = cell.config(width=width, batch=batch)
    data = load_vectors(config.data.path)

    def batches(seed: int) -> Batches:
        return Batches(data, batch=batch, seed=seed, device=CPU)

    real = torch.from_numpy(data.images[:HELD])
    found: list[dict[str, Any]]
    began = time.monotonic()
    if stacks(config):
        stack = StackedTrainer(config, seeds)
        together = StackedBatches([batches(seed) for seed in seeds])
        why = _trained(stack, together, config.train.steps)
        found = [
            _figures(cell, config, real, *(_one(network, place) for network in _averages(stack)))
            for place in range(len(seeds))
        ]
    else:
        found, why = [], None
        for seed in seeds:
            alone = Trainer(replace(config, train=replace(config.train, seed=seed)), CPU)
            why = _trained(alone, batches(seed), config.train.steps) or why
            found.append(_figures(cell, config, real, *_averages(alone)))
    points = found[0].pop("points")
    for one in found[1:]:
        del one["points"]
    return {
        **{key: [one[key] for one in found] for key in found[0]},
        "points": points, "seconds": round(time.monotonic() - began), "diverged": why,
    }  # fmt: skip


def _trained(trainer: Trainer, batches: Batches, steps: int) -> str | None:
    """Train to the last step; the sentence of a loss that is not finite, where training stops."""
    while trainer.step < steps:
        losses = trainer.update(batches)
        if trainer.step % 100 == 0 and not all(bool(v.isfinite()) for v in losses.values()):
            return str(Diverged(trainer.step, "a loss"))
    return None


def _averages(trainer: Trainer) -> tuple[nn.Module, nn.Module]:
    return trainer.averaged_encoder, trainer.averaged_generator


def _one(stack: nn.Module, place: int) -> nn.Module:
    if not isinstance(stack, Stack):
        raise TypeError(f"{type(stack).__name__} is no stack")
    return stack.network(place)


@torch.no_grad()
def _figures(
    cell: Cell, config: Config, real: Tensor, encoder: nn.Module, generator: nn.Module
) -> dict[str, Any]:
    """What the averaged networks, those that are exported, make of the prior and of real points."""
    rng = torch.Generator().manual_seed(0)  # the same z for every cell
    shape = (SAMPLES, config.model.latent)
    uniform = config.model.prior == "uniform"
    z = torch.rand(shape, generator=rng) * 2 - 1 if uniform else torch.randn(shape, generator=rng)
    samples = generator(z).numpy()
    again = generator(encoder(real))
    if not np.isfinite(samples).all():
        samples = np.full_like(samples, 1e6)  # a run that diverged reaches no mode
    kept = samples[:SHOWN].round(3).tolist() if cell.steps >= STEPS["claim"] else []
    return {**rules(cell.density, samples), "error": _median(real, again), "points": kept}


def rules(density: str, samples: NDArray[Any]) -> dict[str, Any]:
    """Every rule's count of modes, and the shares of good samples, of samples [N, D]."""
    nearest = Nearest(toy.find(density), samples)
    return {
        "within10": nearest.captured(sigmas=10, part=0.1),
        "within3": nearest.captured(sigmas=3, part=0.01),
        "touched": nearest.touched(),
        "good10": nearest.share(sigmas=10),
        "good3": nearest.share(sigmas=3),
    }


def _median(real: Tensor, again: Tensor) -> float | None:
    """The median distance of a real point to G(E(x)); None where it is not finite."""
    distance = (real - again).norm(dim=1).median().item()
    return round(distance, 4) if np.isfinite(distance) else None


def not_defined(cell: Cell) -> str | None:
    """Why a cell cannot be, in one sentence; None where it can."""
    try:
        cell.config(width=8, batch=8)
    except BadConfig as error:
        return str(error)
    return None


@click.command()
@click.option("--only", metavar="PART,...", default=",".join(STEPS), show_default=True)
@click.option("--objectives", "names", metavar="NAME,...", default=",".join(objectives.OBJECTIVES))
@click.option("--steps", type=click.IntRange(0), default=0, help="[default: each part's own]")
@click.option("--seeds", type=click.IntRange(1), default=5, show_default=True)
@click.option("--width", type=click.IntRange(1), default=64, show_default=True)
@click.option("--batch", type=click.IntRange(2), default=64, show_default=True)
@click.option("--run", metavar="NAME", help="What the records go by.  [default: the commit]")
@click.option("--write", "only_write", is_flag=True, help="Train nothing; write docs/modes.md.")
def main(
    only: str, names: str, steps: int, seeds: int, width: int, batch: int,
    run: str | None, only_write: bool,
) -> None:  # fmt: skip
    """Count the modes that objectives capture; results go to benchmarks/results/modes.jsonl."""
    records = Records("modes", run, how={"seeds": seeds, "width": width, "batch": batch})
    if only_write:
        write(records.of_run(run) if run else records.last())
        return
    torch.set_num_threads(1)
    asked = cells(chosen(only, list(STEPS)), chosen(names, list(objectives.OBJECTIVES)), steps)
    for cell in asked:
        _measure_once(records, cell, range(seeds), width=width, batch=batch)


def _measure_once(
    records: Records, cell: Cell, seeds: Sequence[int], *, width: int, batch: int
) -> None:
    key = cell.key
    words = f"{cell.density} {cell.pairing} {cell.objective} {cell.remedy}"
    if records.has(**key):
        return
    if why := not_defined(cell):
        records.append(**key, refused=why)
        print(f"{words}: n/a, {why}", file=sys.stderr)
        return
    found: Record = measure(cell, seeds, width=width, batch=batch)
    records.append(**key, torch=torch.__version__, **found)
    print(f"{words}: {found['within10']} {found['within3']}, {found['seconds']} s", file=sys.stderr)


if __name__ == "__main__":
    main()
