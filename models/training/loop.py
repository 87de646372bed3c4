"""A run from its first step or its latest checkpoint to its last: the only part with a clock."""

import json
import math
import platform
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from models.config import Config, DataConfig
from models.datasets import Cut, Dataset, load, load_vectors, toy
from models.datasets.dataset import Progress, silent
from models.datasets.scaling import Scaling
from models.errors import BadConfig, DataError, Diverged, RunError
from models.networks.labelled import told
from models.pairings.terms import Losses
from models.training import checkpoint, health, log, pictures
from models.training.batches import Batches, draw_prior, rng_for
from models.training.step import Trainer
from models.training.workers import ALONE, Workers, here
from serving.cores import usable_cores
from serving.images import ImageSpec

HASHES = "hashes.npy"  # in a run: Dataset.hashes of the items it trains on


@dataclass(frozen=True, kw_only=True, slots=True)
class Tick:
    """One finished step; losses only where the step is logged."""

    step: int
    losses: dict[str, float] | None = None
    images_per_second: float | None = None


def image_spec(config: Config) -> ImageSpec:
    """How images are brought to the model's size.  Raises BadConfig."""
    if config.model.image is None:
        raise BadConfig("a vector model has no image size")
    height, width, channels = config.model.image
    try:
        return ImageSpec(
            height=height,
            width=width,
            channels=channels,
            fit=config.data.fit,
            background=config.data.background,
        )
    except ValueError as error:
        raise BadConfig(f"model.image: {error}") from error


def read_data(config: Config, progress: Progress = silent) -> Dataset:
    """The training part of a config's data, held-out items included."""
    data = config.data
    if config.model.vector is not None:
        return _read_vectors(config, config.model.vector)
    return load(
        data.path,
        image_spec(config),
        limit=data.limit,
        classes=data.classes,
        group=data.group,
        crops=data.crops,
        progress=progress,
    )


def _read_vectors(config: Config, size: int) -> Dataset:
    data = config.data
    found = load_vectors(data.path, limit=data.limit, classes=data.classes, cut=cut_of(data))
    if (width := found.images.shape[1]) != size:
        raise DataError(f"{data.path} has vectors of {width}, the model takes {size}: model.vector")
    return found


def cut_of(data: DataConfig) -> Cut:
    """How a config divides a table."""
    return Cut(label=data.label, drop=data.drop, test=data.test, seed=data.split)


def fit_scaling(config: Config, kept: Dataset) -> Scaling | None:
    """How the vectors that are trained on are scaled; None for images and where they are not."""
    if config.model.vector is None:
        return None
    kind = config.data.scaling
    if kind == "auto":
        kind = "none" if config.data.path.startswith(toy.PREFIX) else "standard"
    return Scaling.fitted(kept.images, kind)


def pick_device(name: str) -> torch.device:
    """The device a `--device` names; auto takes CUDA where it is there.  Raises BadConfig."""
    if name == "cuda" and not torch.cuda.is_available():
        raise BadConfig("device cuda was asked for, but torch finds none")
    cuda = name == "cuda" or (name == "auto" and torch.cuda.is_available())
    return torch.device("cuda" if cuda else "cpu")


def use_threads(config: Config) -> None:
    """Let torch use the cores the config allows.

    More threads than cores make each wait for the others: ten times slower, not a little.
    """
    torch.set_num_threads(config.train.threads or max(1, usable_cores() // here()))


class Run:
    """One run directory and the training that fills it."""

    def __init__(
        self,
        out: Path,
        config: Config,
        data: Dataset,
        device: torch.device,
        workers: Workers = ALONE,
    ) -> None:
        self.out, self.device, self.workers = out, device, workers
        _check_labels(config, data)
        kept, held_out = data.held_out(config.data.holdout, config.train.seed)
        if len(kept) < 2:
            raise DataError(f"{config.data.path} leaves {len(kept)} items to train on")
        self.trainer = Trainer(config, device, workers)
        self.config = self.trainer.config
        self.hashes = kept.hashes()
        scaling = fit_scaling(config, kept)
        if scaling is not None:
            kept, held_out = (
                replace(part, images=scaling(part.images)) for part in (kept, held_out)
            )
        self.batches = Batches(
            kept,
            batch=config.train.batch,
            seed=config.train.seed,
            device=device,
            flip=config.data.flip,
            unlabelled=config.train.unlabelled if config.model.classes else 0.0,
        )
        workers.check_batch(self.batches.batch)
        watched = held_out if len(held_out) >= pictures.PAIRS else kept
        shown = Batches(watched, batch=512, seed=config.train.seed, device=device)
        self.watched, self.watched_labels = shown.at(0), shown.labels_at(0)
        self.seconds = 0.0  # of training so far
        self._began, self._items = 0.0, 0  # since the last log line
        self.found: dict[str, Any] = {
            "items": len(kept),
            "held_out": len(held_out),
            "classes": list(data.classes),
            "skipped": [{"name": s.name, "reason": s.reason} for s in data.skipped],
            "fingerprint": data.fingerprint(),
            **({"labels": data.label_fingerprint()} if config.model.classes else {}),
            **({"columns": list(data.columns)} if data.columns else {}),
            **({"scaling": scaling.to_dict()} if scaling is not None else {}),
            "device": torch.cuda.get_device_name(device) if device.type == "cuda" else _cpu_name(),
            "torch": torch.__version__,
            "workers": workers.count,
        }

    def begin(self, command: str) -> None:
        """Make the run directory.  Raises RunError where there is one already."""
        if self.out.exists() and any(self.out.iterdir()):
            raise RunError(f"{self.out} is not empty: continue with --resume, or choose another")
        self.workers.wait()  # every worker has found it empty
        if self.workers.leads:
            self.out.mkdir(parents=True, exist_ok=True)
            self._write_config([command])

    def resume(self, before: dict[str, Any], command: str) -> None:
        """Come back to the latest checkpoint; `before` is what the run had `found`.

        Raises RunError if the data is not the same.
        """
        for name in ("fingerprint", "labels", "items", "held_out"):
            if before.get(name) != self.found.get(name):
                why = ": its labels changed" if name == "labels" else ""
                raise RunError(f"{self.config.data.path} is not the data this run began with{why}")
        if self.workers.leads:
            checkpoint.tidy(self.out)
        self.workers.wait()
        self.seconds = checkpoint.restore(self.out, self.trainer)
        if self.trainer.step > self.config.train.steps:
            raise BadConfig(
                f"{self.out} has trained {self.trainer.step} steps already, "
                f"train.steps is {self.config.train.steps}"
            )
        self.workers.wait()  # every worker has read it
        if self.workers.leads:
            log.forget_after(self.out, self.trainer.step)
            since = [f"{command}  # from step {self.trainer.step}"]
            self._write_config([*before.get("commands", []), *since])

    def steps(self) -> Iterator[Tick]:
        """Train to the last step, one item per step.

        Raises:
            Diverged: a loss or a weight is not finite; the checkpoint before it stays.
        """
        train, trainer = self.config.train, self.trainer
        unchecked: list[tuple[int, Losses]] = []
        # reading a loss waits for the device: every step on the CPU, at each log line on CUDA
        check_every = 1 if self.device.type == "cpu" else train.log_every
        self._began = time.monotonic()
        while trainer.step < train.steps:
            losses = trainer.update(self.batches)
            step, last = trainer.step, trainer.step == train.steps
            self._items += self.batches.batch * trainer.turns
            unchecked.append((step, losses))
            logs = last or step % train.log_every == 0
            saves = last or step % train.checkpoint_every == 0
            draws = last or step % train.sample_every == 0
            if logs or saves or draws or len(unchecked) >= check_every:
                _refuse_non_finite(unchecked)
                unchecked.clear()
            if saves or draws:
                trainer.refresh_batchnorm(self.batches)
            tick = self._logged(losses, looks=draws) if logs or draws else Tick(step=step)
            if saves:
                self._save()
            if draws and self.workers.leads:
                log.draw(self.out)
            yield tick

    def _logged(self, losses: Losses, *, looks: bool) -> Tick:
        """The tick of this step, written to log.jsonl, with metrics and a picture if it `looks`."""
        now = time.monotonic()
        self.seconds += now - self._began
        rate, self._began, self._items = self._items / (now - self._began), now, 0
        values = {name: loss.item() for name, loss in losses.items()}
        tick = Tick(step=self.trainer.step, losses=values, images_per_second=rate)
        if not self.workers.leads:
            return tick
        line: dict[str, Any] = {"step": tick.step, "losses": values}
        if looks:
            line["metrics"] = self._look()
        line |= {"images_per_second": rate, "seconds": round(self.seconds, 3)}
        log.append(self.out, line)
        return tick

    def _write_config(self, commands: list[str]) -> None:
        resolved = self.config.to_dict() | {"found": self.found | {"commands": commands}}
        checkpoint.write_whole(self.out / "config.json", json.dumps(resolved, indent=2) + "\n")
        np.save(self.out / HASHES, self.hashes)  # of what it trains on: for calibration

    def _look(self) -> dict[str, float]:
        """Draw samples/STEP.png and measure the averaged networks on images never trained on."""
        trainer = self.trainer
        rng = rng_for(self.config.train.seed, "pictures", 0, self.device)
        model, labels = self.config.model, self.watched_labels
        z = draw_prior(model, pictures.SAMPLES, rng, self.device)
        networks = trainer.averaged_encoder, trainer.averaged_generator
        folder = self.out / "samples"
        folder.mkdir(exist_ok=True)
        pictures.draw(
            folder / f"{trainer.step}.png",
            *(told(network, None) for network in networks),
            x=self.watched,
            samples=pictures.drawn(trainer.averaged_generator, z, classes=model.classes),
        )
        encoder, generator = (told(network, labels) for network in networks)
        return health.measure(encoder=encoder, generator=generator, x=self.watched)

    def _save(self) -> None:
        bad = self.trainer.first_bad_weight()
        if bad:
            raise Diverged(self.trainer.step, f"weight {bad}")
        if self.workers.leads:
            checkpoint.save(self.out, self.trainer, seconds=self.seconds)


def _check_labels(config: Config, data: Dataset) -> None:
    """Raises DataError where a conditional model is to learn from data without its classes."""
    classes = config.model.classes
    if classes and data.labels is None:
        raise DataError(f"{config.data.path} has no labels, which model.classes asks for")
    if classes and len(data.classes) != classes:
        raise DataError(
            f"{config.data.path} has {len(data.classes)} classes, but model.classes is {classes}"
        )


def _refuse_non_finite(steps: list[tuple[int, Losses]]) -> None:
    for step, losses in steps:
        values = torch.stack([loss.float() for loss in losses.values()]).tolist()
        for name, value in zip(losses, values, strict=True):
            if not math.isfinite(value):
                raise Diverged(step, f"loss {name} ({value})")


def _cpu_name() -> str:
    threads = torch.get_num_threads()
    return f"{platform.machine()} CPU, {threads} thread{'s' if threads > 1 else ''}"


def check(config: Config) -> Config:
    """The config with what its choices imply, after everything it names was built and dropped.

    A wrong one fails here, before data is read.  Raises ModelError.
    """
    if config.model.image is not None:
        image_spec(config)
    return Trainer(config, torch.device("cpu")).config
