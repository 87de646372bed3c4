"""Checkpoints: written whole or not at all, the newest few kept.

`checkpoints/STEP/weights.safetensors` holds every network, `state.pt` the optimisers, the
objective's state, the step and the time spent; `checkpoints/latest` names the newest.  Each is
written under another name, flushed to disk and renamed, so a kill at any moment leaves the one
before intact.
"""

import json
import os
import pickle
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from models import networks
from models.config import Config
from models.errors import ModelError, RunError
from models.pairings.judge import Judge, judge_among
from models.training.step import Trainer, critics_of

PARTIAL = ".partial"


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainedPair:
    """What a run is for: E and G with averaged weights, in eval mode on the CPU."""

    encoder: nn.Module
    generator: nn.Module
    config: Config
    step: int
    seconds: float  # of training
    found: Mapping[str, Any]  # what the run says of its data, device and command
    judge: Judge | None = None  # the critic that judges items, with its latest weights


def save(run: Path, trainer: Trainer, *, seconds: float) -> Path:
    """Write `checkpoints/STEP` and make it the latest; older ones than `keep` go."""
    root = run / "checkpoints"
    root.mkdir(exist_ok=True)
    final = root / str(trainer.step)
    partial = root / f"{trainer.step}{PARTIAL}"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    weights = {
        f"{prefix}.{name}": value.detach().cpu().contiguous()
        for prefix, module in trainer.modules().items()
        for name, value in module.state_dict().items()
    }
    save_file(weights, partial / "weights.safetensors")
    state = {
        "step": trainer.step,
        "seconds": seconds,
        "objective": trainer.objective.saved(),
        "polishing": trainer.polishing,
        **{name: each.state_dict() for name, each in trainer.optimisers().items()},
    }
    torch.save(state, partial / "state.pt")
    for file in partial.iterdir():
        _flush(file)
    if final.exists():  # a run cut between this rename and `latest` comes past here again
        shutil.rmtree(final)
    partial.rename(final)
    write_whole(root / "latest", str(trainer.step))
    for old in saved_steps(run)[: -trainer.config.train.keep]:
        shutil.rmtree(root / str(old))
    return final


def tidy(run: Path) -> None:
    """Remove what a kill left behind: half-written files, and steps that `latest` never named."""
    root = run / "checkpoints"
    for partial in root.glob(f"*{PARTIAL}"):
        shutil.rmtree(partial) if partial.is_dir() else partial.unlink()
    newest = int(latest(run).name) if (root / "latest").exists() else -1
    for step in saved_steps(run):
        if step > newest:
            shutil.rmtree(root / str(step))


def restore(run: Path, trainer: Trainer) -> float:
    """Bring `trainer` to the latest checkpoint of `run`; the seconds it had trained by then.

    A run that was cut before its first checkpoint stays at its first step.  Raises RunError where
    the checkpoint is of another biject's networks or optimisers.
    """
    if not (run / "checkpoints" / "latest").exists():
        return 0.0
    folder = latest(run)
    weights = _weights(folder)
    for prefix, module in trainer.modules().items():
        _fill(module, prefix, weights, folder)
    state = _state(folder, trainer.device)
    try:
        for name, optimiser in trainer.optimisers().items():
            if (
                name != "polish_optimiser" or name in state
            ):  # polishing may be asked for on a resume
                optimiser.load_state_dict(state[name])
        # a checkpoint of before objectives had a state holds none
        trainer.objective = trainer.objective.restored(state.get("objective", {}))
        trainer.polishing = state.get("polishing", False)
        trainer.step = state["step"]
        return float(state["seconds"])
    except (KeyError, ValueError) as error:
        why = f"it has no {error}" if isinstance(error, KeyError) else str(error)
        raise RunError(
            f"{folder / 'state.pt'} is not what this version of biject writes ({why}): "
            "resume the run with the version that made it"
        ) from error


def load_pair(run: Path, *, judged: bool = False) -> TrainedPair:
    """E and G of a run's latest checkpoint, averaged weights, ready to export.

    Args:
        judged: With the critic that judges items.
    Raises:
        RunError: `run` is no run or has no whole checkpoint.
        BadConfig: no critic of it judges items.
    """
    config, found = read_config(run)
    folder = latest(run)
    weights = _weights(folder)
    encoder = networks.build_encoder(config.model)
    generator = networks.build_generator(config.model)
    _fill(encoder, "ema.encoder", weights, folder)
    _fill(generator, "ema.generator", weights, folder)
    state = _state(folder, torch.device("cpu"))
    judge = None
    if judged:
        critics = critics_of(config)
        judge = judge_among(critics, config.model)
        _fill(critics, "critics", weights, folder)
    return TrainedPair(
        encoder=encoder.requires_grad_(False).eval(),
        generator=generator.requires_grad_(False).eval(),
        config=config,
        step=state["step"],
        seconds=state["seconds"],
        found=found,
        judge=judge,
    )


def read_config(run: Path) -> tuple[Config, dict[str, Any]]:
    """The resolved config of a run, and what the run found out about data and device."""
    path = run / "config.json"
    if not path.exists():
        raise RunError(f"{run} is no run directory: it has no config.json")
    try:
        tables = json.loads(path.read_text(encoding="utf-8"))
        found = tables.pop("found", {})
        return Config.from_dict(tables), found
    except (OSError, ValueError, AttributeError, ModelError) as error:
        raise RunError(f"{path} cannot be read: {error}") from error


def saved_steps(run: Path) -> list[int]:
    """The steps of the whole checkpoints, oldest first."""
    root = run / "checkpoints"
    return sorted(int(f.name) for f in root.iterdir() if f.name.isdigit()) if root.is_dir() else []


def latest(run: Path) -> Path:
    """The folder that `checkpoints/latest` names.  Raises RunError."""
    pointer = run / "checkpoints" / "latest"
    if not pointer.exists():
        raise RunError(f"{run} has no checkpoint yet: continue it with --resume")
    folder = pointer.parent / pointer.read_text(encoding="utf-8").strip()
    if not folder.is_dir():
        raise RunError(f"{pointer} names {folder.name}, which is not there")
    return folder


def write_whole(path: Path, text: str) -> None:
    """Write a small file under another name, flush it and rename it into place."""
    partial = path.with_name(path.name + PARTIAL)
    partial.write_text(text, encoding="utf-8")
    _flush(partial)
    os.replace(partial, path)


def _flush(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _weights(folder: Path) -> dict[str, Tensor]:
    path = folder / "weights.safetensors"
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise RunError(f"{path} cannot be read: {error}") from error


def _state(folder: Path, device: torch.device) -> dict[str, Any]:
    path = folder / "state.pt"
    try:
        state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        reason = str(error).splitlines()[0]
        raise RunError(f"{path} cannot be read: {reason}") from error
    return state


def _fill(module: nn.Module, prefix: str, weights: Mapping[str, Tensor], folder: Path) -> None:
    own = {
        name.removeprefix(f"{prefix}."): value
        for name, value in weights.items()
        if name.startswith(f"{prefix}.")
    }
    try:
        module.load_state_dict(own)
    except RuntimeError as error:
        raise RunError(f"{folder}: the weights of {prefix} do not fit its config") from error
