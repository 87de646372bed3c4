"""Every objective from a config to a bundle, and what becomes of its state."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result
from safetensors.torch import load_file
from torch import Tensor

from biject import main
from documentation.test_documents import document, table
from models import objectives
from models.config import Config
from models.datasets import load_vectors
from models.pairings.pairing import Turn
from models.training import checkpoint, log
from models.training.batches import Batches
from models.training.step import Trainer
from serving.bundle import read
from serving.engine import Engine

RING = Path(__file__).parents[2] / "models/configs/ring.toml"
CPU = torch.device("cpu")
WANTS = {  # what the guide tells a reader to set
    name: re.findall(r"[a-z]+\.[a-z_]+=[^`]+", row[2])
    for name, row in table(document("training.md"), "objective").items()
}
SMALL = ("regularisers.pairwise=0", "model.width=16", "train.threads=1")
STATEFUL: Mapping[str, tuple[str, ...]] = {
    "fisher": ("objective.rho=0.01",),
    "ebgan": ("objective.warmup=3",),
    "began": ("objective.gain=0.1", "objective.latent_weight=0"),  # k rises
    # 64 points are 4 batches an epoch
    "magan": ("objective.warmup=3", "train.batch=16", "data.limit=64"),
}


def train(*arguments: object, sets: tuple[str, ...] = ()) -> Result:
    chosen = [word for one in sets for word in ("--set", one)]
    return CliRunner().invoke(main, ["train", *map(str, arguments), *chosen])


def config(name: str, *overrides: str) -> Config:
    return Config.read(RING, [*SMALL, f"model.objective={name}", *overrides])


def trainer_of(name: str, *overrides: str) -> tuple[Trainer, Batches]:
    made = config(name, *overrides)
    data = load_vectors("toy:ring", limit=made.data.limit)
    return Trainer(made, CPU), Batches(data, batch=made.train.batch, seed=0, device=CPU)


def weights(trainer: Trainer) -> dict[str, Tensor]:
    return {
        f"{prefix}.{name}": value.clone()
        for prefix, module in trainer.modules().items()
        for name, value in module.state_dict().items()
    }


def changed(before: dict[str, Tensor], after: dict[str, Tensor]) -> set[str]:
    """The networks of which anything moved."""
    return {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}


def twenty_steps(name: str, run: Path) -> None:
    """A run on the ring with what the guide asks for."""
    warmup = ("objective.warmup=5",) if name in ("ebgan", "magan") else ()
    sets = (*SMALL, f"model.objective={name}", *WANTS[name], *warmup)
    done = train(RING, "--out", run, "--steps", 20, sets=sets)
    assert done.exit_code == 0, done.output
    assert "warning" not in done.stderr


def check_bundle(name: str, run: Path, out: Path) -> None:
    exported = CliRunner().invoke(main, ["export", str(run), str(out)])
    assert exported.exit_code == 0, exported.output
    bundle = read(out, name=name, version=1)
    assert bundle.manifest.extra["objective"] == name
    z = torch.zeros(3, 1).numpy()
    (points,) = Engine(bundle, device="cpu", threads=1).run("decode", [z])
    assert points.shape == (3, 2)


@pytest.mark.parametrize("name", objectives.OBJECTIVES)
def test_every_objective_trains_on_the_ring(name: str, tmp_path: Path) -> None:
    run = tmp_path / "run"
    twenty_steps(name, run)
    assert (run / "losses.png").exists()
    (line,) = log.read(run)
    sides = {loss.partition("/")[0] for loss in line["losses"]}
    assert sides == ({"pair"} if name == "gmmn" else {"critic", "pair"})
    assert checkpoint.load_pair(run).config.model.objective == name


EXPORTED_FAST = ("gmmn",)  # one without a critic; half a minute each on a busy machine


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in EXPORTED_FAST else pytest.mark.slow)
        for name in objectives.OBJECTIVES
    ],
)
def test_every_objective_ends_in_a_bundle(name: str, tmp_path: Path) -> None:
    run = tmp_path / "run"
    twenty_steps(name, run)
    check_bundle(name, run, tmp_path / "models" / name / "1")


@pytest.mark.parametrize("name", STATEFUL)
def test_a_state_survives_a_resume_bit_for_bit(name: str, tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    often = ("train.checkpoint_every=1", "train.log_every=1", "train.sample_every=100")
    sets = (*SMALL, *STATEFUL[name], *often, f"model.objective={name}")
    assert train(RING, "--out", whole, "--steps", 9, sets=sets).exit_code == 0
    # within magan's second epoch of 4, after its warm-up of 3
    assert train(RING, "--out", cut, "--steps", 6, sets=sets).exit_code == 0
    fresh, _ = trainer_of(name, *STATEFUL[name])
    state = torch.load(cut / "checkpoints/6/state.pt", weights_only=True)["objective"]
    for key, value in fresh.objective.saved().items():
        assert state[key] != value, key  # else a state that is not restored would be the same
    assert train("--resume", cut, "--steps", 9).exit_code == 0
    states = [torch.load(run / "checkpoints/9/state.pt", weights_only=True) for run in (whole, cut)]
    assert states[0]["objective"] == states[1]["objective"] != {}
    assert changed(stored(whole), stored(cut)) == set()
    lines = [[line["losses"] for line in log.read(run)] for run in (whole, cut)]
    assert lines[0] == lines[1]


def stored(run: Path) -> dict[str, Tensor]:
    """Every weight of a run's latest checkpoint, as it lies on disk."""
    found: dict[str, Tensor] = load_file(checkpoint.latest(run) / "weights.safetensors")
    return found


def test_a_checkpoint_from_before_objectives_had_a_state_resumes(tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert train(RING, "--out", run, "--steps", 2, sets=SMALL).exit_code == 0
    path = run / "checkpoints/2/state.pt"
    state: dict[str, Any] = torch.load(path, weights_only=True)
    del state["objective"]
    torch.save(state, path)
    resumed = train("--resume", run, "--steps", 3)
    assert resumed.exit_code == 0, resumed.output


@pytest.mark.parametrize("name", STATEFUL)
def test_a_trainer_moves_the_state_by_what_it_logs(name: str) -> None:
    trainer, batches = trainer_of(name, *STATEFUL[name])
    for _ in range(9):
        before = trainer.objective
        losses = trainer.update(batches)
        expected = before.after({key.removeprefix("critic/"): loss for key, loss in losses.items()})
        if batches.per_epoch == 4 and trainer.step % 4 == 0:
            expected = expected.after_epoch()
        assert trainer.objective == expected
        for key, value in trainer.objective.shown().items():
            if trainer.step % 4:  # an epoch's end comes after the log
                assert losses[f"critic/{key}"].item() == pytest.approx(value)


@pytest.mark.parametrize("name", ["ebgan", "magan"])
def test_g_and_e_rest_while_an_autoencoder_warms_up(name: str) -> None:
    trainer, batches = trainer_of(name, "objective.warmup=2", "train.batch=16")
    start = weights(trainer)
    trainer.update(batches)
    middle = weights(trainer)
    assert changed(start, middle) == {"critics"}
    losses = trainer.update(batches)  # the margin is set: the game begins
    assert "pair/generator" in losses
    assert changed(middle, weights(trainer)) == {"critics", "encoder", "generator", "ema"}


@pytest.mark.parametrize("name", [n for n in objectives.OBJECTIVES if n != "gmmn"])
def test_a_critics_step_moves_no_g_or_e_and_theirs_no_critic(name: str) -> None:
    trainer, batches = trainer_of(name, *WANTS[name], "train.batch=16")
    if name in ("ebgan", "magan"):
        trainer.objective = trainer.objective.restored({"warmed": 200, "margin": 50.0})
    x, z = batches.at(0), torch.randn(16, 1)
    turn = Turn(rng=torch.Generator())
    batch = trainer.pairing.forward(trainer.encoder, trainer.generator, x, z, turn.rng)
    assert trainer.critic_optimiser is not None
    start = weights(trainer)
    trainer._critic_step(trainer.critic_optimiser, trainer.critics, batch.detached(), turn)
    middle = weights(trainer)
    assert changed(start, middle) == {"critics"}
    trainer._pair_step(trainer.critics, batch, turn)
    moved = changed(middle, weights(trainer))
    assert moved >= {"encoder"}
    assert moved <= {"encoder", "generator", *(["critics"] if spectral(trainer) else [])}


def spectral(trainer: Trainer) -> bool:
    """Spectral norm turns its vectors on every pass; they are no weights."""
    return trainer.config.model.critic_norm == "spectral"


def test_gmmn_has_no_critic_to_train_or_to_save() -> None:
    trainer, batches = trainer_of("gmmn")
    losses = trainer.update(batches)
    assert set(losses) == {"pair/match", "pair/total"}
    assert set(trainer.optimisers()) == {"pair_optimiser"}


@pytest.mark.parametrize(
    ("name", "bounds", "low", "high"),
    [
        ("wgan", "0.01", -0.01, 0.01),
        ("rwgan", "{low=-0.005, high=0.01}", -0.005, 0.01),
        ("mcgan-covariance", "0.01", -0.01, 0.01),
    ],
)
def test_clipping_bounds_all_weights_of_the_critics_after_a_step(
    name: str, bounds: str, low: float, high: float
) -> None:
    trainer, batches = trainer_of(name, f"regularisers.clip={bounds}", "train.critic_lr=0.1")
    trainer.update(batches)
    for key, weight in trainer.critics.named_parameters():
        if key.split(".")[1] in ("left", "right"):
            torch.testing.assert_close(weight.T @ weight, torch.eye(16))
        else:
            assert low - 1e-8 <= weight.min() <= weight.max() <= high + 1e-8, key
    cut = dict(trainer.critics.named_parameters())["joint.joint.0.weight"]  # and it was needed
    assert (cut.min().item(), cut.max().item()) == pytest.approx((low, high))


@pytest.mark.parametrize(
    ("names", "kinds"),
    [
        ((), (torch.optim.Adam, torch.optim.Adam)),
        (("optimiser=adamax",), (torch.optim.Adamax, torch.optim.Adamax)),
        (("optimiser=rmsprop",), (torch.optim.RMSprop, torch.optim.RMSprop)),
        (("critic_optimiser=rmsprop",), (torch.optim.Adam, torch.optim.RMSprop)),
    ],
)
def test_optimisers_are_those_that_were_named(
    names: tuple[str, ...], kinds: tuple[type, type]
) -> None:
    trainer, batches = trainer_of("gan", *(f"train.{name}" for name in names), "train.lr=0.003")
    trainer.update(batches)
    assert (type(trainer.pair_optimiser), type(trainer.critic_optimiser)) == kinds
    assert trainer.pair_optimiser.param_groups[0]["lr"] == 0.003


def test_images_train_with_every_kind_of_critic() -> None:
    image = {"image": [16, 16, 1], "latent": 4, "width": 4, "pairing": "bigan"}
    digits = {"path": "digits", "limit": 64}
    for name in ("mcgan-covariance", "cramer", "gmmn", "began"):
        made = Config.from_dict(
            {
                "data": digits,
                "model": {**image, "objective": name},
                "regularisers": {"clip": 0.01} if name == "mcgan-covariance" else {},
                "train": {"batch": 8},
            }
        )
        images = torch.randn(64, 1, 16, 16).numpy()
        trainer = Trainer(made, CPU)
        batches = Batches(load_vectors("toy:ring", limit=64), batch=8, seed=0, device=CPU)
        batches.items = images
        batches.is_images = False  # they are floats already
        assert all(loss.isfinite() for loss in trainer.update(batches).values())


def test_a_warning_is_one_line_and_not_an_error() -> None:
    sets = (*SMALL[1:], "model.critic_norm=spectral")  # beside the pairwise penalty of ring.toml
    shown = train(RING, "--dry-run", sets=sets)
    assert shown.exit_code == 0
    assert shown.stderr.startswith("warning: spectral norm")
    assert shown.stderr.count("\n") == 1


def test_a_dry_run_shows_what_a_name_brings_along() -> None:
    shown = train(RING, "--dry-run", sets=(*SMALL, "model.objective=wgan-gp"))
    assert '"gradient": 10.0' in shown.stdout
