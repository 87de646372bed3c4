"""Every pairing from a config to a bundle, cut and continued; and what polishing does to a run."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from safetensors.torch import load_file
from torch import Tensor, nn

from biject import main
from documentation.test_documents import document, table
from models import pairings
from models.config import Config
from models.datasets import load
from models.networks.joint import JointCritic
from models.training import checkpoint, log
from models.training.batches import Batches
from models.training.loop import image_spec
from models.training.step import Trainer
from serving.bundle import read
from serving.engine import Engine

DIGITS = Path(__file__).parents[2] / "models/configs/digits.toml"
CPU = torch.device("cpu")
WANTS = {  # what the guide tells a reader to set
    name: tuple(re.findall(r"[a-z]+\.[a-z_]+=[^`]+", row[-2]))
    for name, row in table(document("training.md"), "pairing").items()
}
SMALL = (
    "model.image=[16, 16, 1]",
    "model.latent=4",
    "model.width=4",
    "data.limit=200",
    "train.batch=8",
    "train.threads=1",
)


def sets(name: str, *more: str) -> tuple[str, ...]:
    # the guide's half of the run is half of 20 steps here
    wanted = tuple("train.polish=10" if "polish" in one else one for one in WANTS[name])
    return (*SMALL, f"model.pairing={name}", *wanted, *more)


def train(*arguments: object, sets: tuple[str, ...] = ()) -> Result:
    chosen = [word for one in sets for word in ("--set", one)]
    return CliRunner().invoke(main, ["train", *map(str, arguments), *chosen])


def twenty_steps(name: str, run: Path, *more: str) -> Result:
    done = train(DIGITS, "--out", run, "--steps", 20, sets=sets(name, *more))
    assert done.exit_code == 0, done.output
    return done


def trainer_of(*overrides: str) -> tuple[Trainer, Batches]:
    made = Config.read(DIGITS, [*SMALL, *overrides])
    data = load("digits", image_spec(made), limit=200)
    return Trainer(made, CPU), Batches(data, batch=8, seed=0, device=CPU)


def weights(trainer: Trainer) -> dict[str, Tensor]:
    return {
        f"{prefix}.{name}": value.clone()
        for prefix, module in trainer.modules().items()
        for name, value in module.state_dict().items()
    }


def changed(before: dict[str, Tensor], after: dict[str, Tensor]) -> set[str]:
    """The networks of which anything moved."""
    names = [name for name in before if not torch.equal(before[name], after[name])]
    return {".".join(name.split(".")[: 2 if name.startswith("ema") else 1]) for name in names}


def stored(run: Path) -> dict[str, Tensor]:
    """Every weight of a run's latest checkpoint, as it lies on disk."""
    found: dict[str, Tensor] = load_file(checkpoint.latest(run) / "weights.safetensors")
    return found


def rewound(run: Path, to: Path, step: int) -> Path:
    """The run as a kill after its checkpoint of `step` would have left it."""
    shutil.copytree(run, to)
    (to / "checkpoints/latest").write_text(str(step))
    return to


@pytest.mark.parametrize("name", pairings.PAIRINGS)
def test_a_run_of_every_pairing_goes_on_bit_for_bit(name: str, tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    often = ("train.checkpoint_every=6", "train.sample_every=20", "train.keep=9")
    done = twenty_steps(name, whole, *often)
    assert "warning" not in done.stderr
    for step in (6, 12):  # the second within fanogan's last 10
        cut = rewound(whole, tmp_path / f"cut{step}", step)
        resumed = train("--resume", cut)
        assert resumed.exit_code == 0, resumed.output
        assert changed(stored(cut), stored(whole)) == set()
        assert [n["losses"] for n in log.read(cut)] == [n["losses"] for n in log.read(whole)]


ALL_AT_ONCE = {
    "bigan": (
        *("regularisers.dragan=1", "regularisers.mismatch=1", "regularisers.latent_mmd=1"),
        *("regularisers.feature_matching=1", "regularisers.instance_noise=0.1"),
        "regularisers.augment=['color', 'translation', 'cutout']",
        *("weights.smoothing=0.05", "weights.smoothing_real=0.05", "train.critic_steps=2"),
        *("weights.image={from=5, to=1, steps=10}", "weights.latent=1"),
        "weights.cycle_to_generator=0",
    ),
    "aegan": (
        *("model.critic_minibatch=kernel", "regularisers.instance_noise={sigma=0.1, steps=9}"),
        *("regularisers.augment=['color']", "weights.critic_image={from=0, to=1, steps=9}"),
        *("weights.smoothing={from=0.1, to=0, steps=9}", "model.critic_norm=none"),
    ),
}


@pytest.mark.parametrize("name", ALL_AT_ONCE)
def test_remedies_go_together_and_survive_a_resume_bit_for_bit(name: str, tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    often = ("train.checkpoint_every=9", "train.sample_every=20", "train.log_every=1")
    twenty_steps(name, whole, *ALL_AT_ONCE[name], *often, "train.keep=9")
    cut = rewound(whole, tmp_path / "cut", 9)
    assert train("--resume", cut).exit_code == 0
    assert changed(stored(cut), stored(whole)) == set()
    assert [n["losses"] for n in log.read(cut)] == [n["losses"] for n in log.read(whole)]


EXPORTED_FAST = ("ali", "alad")  # a stochastic E, and one with spectral norm


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in EXPORTED_FAST else pytest.mark.slow)
        for name in pairings.PAIRINGS
    ],
)
def test_every_pairing_ends_in_a_bundle_that_gives_one_answer(name: str, tmp_path: Path) -> None:
    run, out = tmp_path / "run", tmp_path / "models" / name / "1"
    twenty_steps(name, run)
    exported = CliRunner().invoke(main, ["export", str(run), str(out)])
    assert exported.exit_code == 0, exported.output
    bundle = read(out, name=name, version=1)
    assert bundle.manifest.extra["pairing"] == name
    images = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 1), np.uint8)
    engine = Engine(bundle, device="cpu", threads=1)
    (first,), (second,) = (engine.run("encode", [images]) for _ in range(2))
    assert first.shape == (3, 4)
    np.testing.assert_array_equal(first, second)  # no noise is served
    pair = checkpoint.load_pair(run)
    expected = pair.encoder(torch.from_numpy(images).permute(0, 3, 1, 2) / 127.5 - 1)
    np.testing.assert_allclose(first, expected.numpy(), atol=1e-4)


@pytest.mark.parametrize(
    ("network", "pairing"),
    [
        ("resnet", "aegan"),
        pytest.param("aegan", "aegan", marks=pytest.mark.slow),
        pytest.param("resnet", "alad", marks=pytest.mark.slow),
        pytest.param("aegan", "vaegan", marks=pytest.mark.slow),
    ],
)
def test_larger_networks_train_and_end_in_a_bundle(
    network: str, pairing: str, tmp_path: Path
) -> None:
    run, out = tmp_path / "run", tmp_path / "models" / network / "1"
    twenty_steps(pairing, run, f"model.network={network}", "model.image=[32, 32, 1]")
    exported = CliRunner().invoke(main, ["export", str(run), str(out)])
    assert exported.exit_code == 0, exported.output
    images = np.zeros((2, 32, 32, 1), np.uint8)
    engine = Engine(read(out, name=network, version=1), device="cpu", threads=1)
    (codes,) = engine.run("encode", [images])
    assert codes.shape == (2, 4)


@pytest.mark.parametrize("name", pairings.PAIRINGS)
def test_an_update_moves_every_network_of_every_pairing(name: str) -> None:
    trainer, batches = trainer_of(*sets(name), "train.steps=20")
    before = weights(trainer)
    trainer.update(batches)
    rests = {"encoder", "ema.encoder"} if name == "fanogan" else set()
    names = {"encoder", "generator", "critics", "ema.encoder", "ema.generator"}
    assert changed(before, weights(trainer)) == names - rests


POLISHED = ("train.steps=6", "train.polish=3")


@pytest.mark.parametrize("name", ["aegan", "bigan", "ali", "alad", "fanogan"])
def test_polishing_moves_e_alone(name: str) -> None:
    trainer, batches = trainer_of(*sets(name), *POLISHED)
    for _ in range(3):
        trainer.update(batches)
    trainer.refresh_batchnorm(batches)  # as a checkpoint would, at any step
    before = weights(trainer)
    losses = trainer.update(batches)
    assert set(losses) == {"pair/residual", "pair/residual_feature", "pair/total"}
    after = weights(trainer)
    assert {"encoder", "ema.encoder"} <= changed(before, after) <= {
        "encoder", "ema.encoder", "generator"
    }  # fmt: skip
    for key, value in after.items():  # G is now the one that is exported, and stays so
        if key.startswith("generator."):
            assert torch.equal(value, before[f"ema.{key}"]), key
    trainer.refresh_batchnorm(batches)
    trainer.update(batches)
    assert changed(after, weights(trainer)) == {"encoder", "ema.encoder"}


def test_an_e_that_rests_has_no_part_in_gs_statistics() -> None:
    found = []
    for scale in (1.0, 50.0):
        trainer, batches = trainer_of(*sets("fanogan"), *POLISHED)
        trainer.update(batches)
        head = [part for part in trainer.averaged_encoder.modules() if isinstance(part, nn.Linear)]
        with torch.no_grad():
            head[-1].weight.mul_(scale)
        trainer.refresh_batchnorm(batches)
        found.append(dict(trainer.averaged_generator.named_buffers()))
    for name, value in found[0].items():
        assert torch.equal(value, found[1][name]), name


def test_the_loss_of_polishing_is_a_residual_of_pixels_and_of_features() -> None:
    trainer, batches = trainer_of(*sets("bigan"), *POLISHED, "train.polish_feature=3.0")
    for _ in range(3):
        trainer.update(batches)
    trainer.refresh_batchnorm(batches)
    encoder, generator = trainer.averaged_encoder, trainer.averaged_generator
    encoder.train()  # E trains on its batch's own statistics
    x = batches.at(3)
    with torch.no_grad():
        code = encoder(x)
        again = generator(code)
        critic = trainer.critics.eval()["joint"]
        assert isinstance(critic, JointCritic)
        residual = (x - again).numpy()
        features = (critic.features(x, code) - critic.features(again, code)).numpy()
    losses = trainer.update(batches)
    expected = np.square(residual).mean() + 3 * np.square(features).mean()
    assert losses["pair/total"].item() == pytest.approx(expected, rel=1e-4)


def test_a_run_that_is_over_can_be_polished(tmp_path: Path) -> None:
    run = tmp_path / "run"
    twenty_steps("aegan", run, "train.ema=0.5")
    before = checkpoint.load_pair(run).generator.state_dict()
    more = ("train.polish=40", "train.log_every=1", "train.sample_every=10")
    resumed = train("--resume", run, "--steps", 60, sets=more)
    assert resumed.exit_code == 0, resumed.output
    after = checkpoint.load_pair(run).generator.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    residuals = [line["losses"]["pair/residual"] for line in log.read(run) if line["step"] > 20]
    assert len(residuals) == 40
    assert np.mean(residuals[-10:]) < np.mean(residuals[:10])


def test_a_polished_run_can_play_on(tmp_path: Path) -> None:
    run = tmp_path / "run"
    twenty_steps("aegan", run, "train.polish=5")
    before = stored(run)
    resumed = train("--resume", run, "--steps", 22, sets=("train.polish=0",))
    assert resumed.exit_code == 0, resumed.output
    assert changed(before, stored(run)) >= {"encoder", "generator", "critics"}


def test_the_guide_has_a_command_that_trains_each_pairing() -> None:
    shown = re.findall(
        r"^biject train (models/\S+ .*model\.pairing=(\w+).*)$", document("training.md"), re.M
    )
    assert [name for _, name in shown] == list(pairings.PAIRINGS)
    for command, name in shown:
        done = train(*command.split(), "--dry-run", sets=("train.threads=1",))
        assert done.exit_code == 0, done.output
        assert "warning" not in done.stderr
        assert f'"pairing": "{name}"' in done.stdout
