"""Every penalty and remedy of the guide makes another pair, and a run with it ends in a bundle."""

import functools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from biject import main
from documentation.test_documents import document, table
from models.config import Config
from models.training.batches import Batches
from models.training.loop import read_data
from models.training.step import Trainer
from serving.bundle import read
from serving.engine import Engine

CONFIGS = Path(__file__).parents[2] / "models/configs"
CPU = torch.device("cpu")
STEPS = 20
POINTS = ("model.width=8", "regularisers.pairwise=0", "data.limit=64", "train.batch=16")
IMAGES = ("model.image=[16, 16, 1]", "model.width=4", "model.latent=4", "data.limit=32")
CYCLE = ("weights.latent=1",)  # without it nothing learns from E(G(z))
REMEDIES: dict[str, tuple[str, ...]] = {
    "pairwise": ("regularisers.pairwise=0.1",),
    "gradient": ("regularisers.gradient=10",),
    "r1": ("regularisers.r1={weight=10.0, every=4}",),
    "dragan": ("regularisers.dragan=10",),
    "clip": ("regularisers.clip=0.1",),
    "feature_matching": ("regularisers.feature_matching=1",),
    "latent_mmd": ("regularisers.latent_mmd=10",),
    "mismatch": ("regularisers.mismatch=1",),
    "instance_noise": ("regularisers.instance_noise=0.3",),
    "augment": ("regularisers.augment=['color', 'translation', 'cutout']",),
    "unrolled": ("regularisers.unrolled=2",),
    "model.critic_minibatch": ("model.critic_minibatch=kernel",),
    "weights.smoothing": ("weights.smoothing=0.05",),
    "weights.smoothing_real": ("weights.smoothing_real=0.1",),
    "weights.cycle_to_generator": (*CYCLE, "weights.cycle_to_generator=0"),
    "weights.cycle_to_encoder": (*CYCLE, "weights.cycle_to_encoder=0"),
}


def chosen(name: str) -> tuple[Path, tuple[str, ...]]:
    """The config that a remedy is tried on, and how it is made small."""
    file, small = ("digits", IMAGES) if name == "augment" else ("ring", POINTS)
    return CONFIGS / f"{file}.toml", (*small, "train.threads=1", f"train.steps={STEPS}")


@functools.cache
def encoder_after(config: Path, sets: tuple[str, ...]) -> dict[str, Any]:
    """E after a short run, in which no loss was lost."""
    made = Config.read(config, sets)
    trainer, data = Trainer(made, CPU), read_data(made)
    batches = Batches(data, batch=made.train.batch, seed=0, device=CPU)
    for _ in range(STEPS):
        losses = trainer.update(batches)
        assert all(bool(loss.isfinite()) for loss in losses.values())
    return trainer.encoder.state_dict()


def test_every_remedy_of_the_guide_is_tried() -> None:
    assert set(REMEDIES) == set(table(document("training.md"), "remedy"))


@pytest.mark.parametrize("name", REMEDIES)
def test_a_remedy_makes_another_pair(name: str) -> None:
    config, small = chosen(name)
    without = (*small, *(CYCLE if "cycle" in name else ()))
    plain, remedied = (encoder_after(config, sets) for sets in (without, small + REMEDIES[name]))
    assert any(not torch.equal(plain[key], remedied[key]) for key in plain)


@pytest.mark.slow
@pytest.mark.parametrize("name", REMEDIES)
def test_a_run_with_a_remedy_ends_in_a_bundle(name: str, tmp_path: Path) -> None:
    config, small = chosen(name)
    run, out = tmp_path / "run", tmp_path / "models" / "remedied" / "1"
    sets = [word for one in (*small, *REMEDIES[name]) for word in ("--set", one)]
    for command in (["train", config, "--out", run, *sets], ["export", run, out]):
        done = CliRunner().invoke(main, [*map(str, command)])
        assert done.exit_code == 0, done.output
    bundle = read(out, name="remedied", version=1)
    z = np.zeros((3, bundle.manifest.latent.size), np.float32)
    (made,) = Engine(bundle, device="cpu", threads=1).run("decode", [z])
    assert made.shape == ((3, 16, 16, 1) if name == "augment" else (3, 2))
