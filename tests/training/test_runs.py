"""Runs on disk: what they leave, how they stop, and how they go on after a kill."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from matplotlib.figure import Figure
from PIL import Image
from safetensors.torch import load_file

from biject import main
from models.errors import RunError
from models.training import checkpoint, log
from models.training.checkpoint import load_pair, saved_steps

ROOT = Path(__file__).parents[2]
CONFIG = """
[data]
path = "digits"
limit = 200
holdout = 0.2
[model]
image = [16, 16, 1]
latent = 4
width = 4
critic_norm = "spectral"
[train]
steps = 12
batch = 8
threads = 1
log_every = 2
sample_every = 6
checkpoint_every = 3
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.toml"
    path.write_text(CONFIG)
    return path


def train(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["train", *map(str, arguments)])


def weights(run: Path) -> dict[str, bytes]:
    step = (run / "checkpoints/latest").read_text()
    tensors = load_file(run / "checkpoints" / step / "weights.safetensors")
    return {name: tensor.numpy().tobytes() for name, tensor in tensors.items()}


def start(*arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "biject", "train", *map(str, arguments)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def test_a_run_leaves_what_the_readme_says(config: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    done = train(config, "--out", run, "--set", "train.keep=3")
    assert done.exit_code == 0, done.output
    assert done.stdout.strip() == str(run)
    assert re.search(r"^12 of 12 steps, .* left, .* img/s", done.stderr, re.MULTILINE)
    assert "\r" not in done.stderr  # which is no terminal
    assert saved_steps(run) == [6, 9, 12]
    assert (run / "checkpoints/latest").read_text() == "12"
    assert not list(run.rglob("*partial*"))
    lines = list(log.read(run))
    assert [line["step"] for line in lines] == [2, 4, 6, 8, 10, 12]
    assert {"critic/critic_image", "pair/latent", "pair/total"} <= set(lines[0]["losses"])
    assert lines[0]["images_per_second"] > 0
    assert lines[-1]["metrics"]["code_std"] > 0
    resolved = json.loads((run / "config.json").read_text())
    assert resolved["train"]["keep"] == 3
    assert resolved["found"]["items"] == 160
    assert resolved["found"]["held_out"] == 40
    for name, least in (("samples/6.png", 400), ("samples/12.png", 400), ("losses.png", 500)):
        with Image.open(run / name) as picture:
            assert min(picture.size) >= least
            assert len(picture.convert("L").getcolors(1 << 20) or ()) > 20
    pair = load_pair(run)
    assert pair.step == 12
    assert not pair.encoder.training


def test_a_resumed_run_has_the_weights_of_an_unbroken_one(config: Path, tmp_path: Path) -> None:
    """Killed with SIGKILL wherever it happens to be, several times over."""
    whole = tmp_path / "whole"
    _, err = start(config, "--out", whole).communicate(timeout=120)
    assert weights(whole), err
    cut = tmp_path / "cut"
    process = start(config, "--out", cut)
    for kill_at in (4, 7, 10):  # lines in the log: between two checkpoints each time
        wait_for_step(process, cut, kill_at)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        with (cut / "log.jsonl").open("a") as file:
            file.write('{"step": 99, "los')  # and a line cut in the middle
        process = start("--resume", cut)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert weights(cut) == weights(whole)
    assert [line["step"] for line in log.read(cut)] == [2, 4, 6, 8, 10, 12]
    losses = [[line["losses"] for line in log.read(run)] for run in (cut, whole)]
    assert losses[0] == losses[1]


def wait_for_step(process: subprocess.Popen[str], run: Path, step: int) -> None:
    end = time.monotonic() + 120
    while time.monotonic() < end and process.poll() is None:
        lines = list(log.read(run)) if (run / "checkpoints/latest").exists() else []
        if lines and lines[-1]["step"] >= step - 1:
            return
        time.sleep(0.002)
    assert process.poll() is None, process.communicate()[1]


def test_more_steps_can_be_asked_for(config: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert train(config, "--out", run, "--steps", 4).exit_code == 0
    assert train("--resume", run, "--steps", 8, "--set", "weights.image=1").exit_code == 0
    assert saved_steps(run)[-1] == 8
    pair = load_pair(run)
    assert (pair.step, pair.config.train.steps, pair.config.weights) == (8, 8, {"image": 1.0})
    _, second = pair.found["commands"]
    assert second.endswith("# from step 4")
    for line, weight in zip(log.read(run), (10, 10, 1, 1), strict=True):
        part = {name.removeprefix("pair/"): value for name, value in line["losses"].items()}
        games = part["sample"] + part["reconstruction"] + part["code"] + part["cycle"]
        expected = games + weight * part["image"] + 5 * part["latent"]
        assert part["total"] == pytest.approx(expected, rel=1e-5)


def test_a_run_cut_before_its_first_checkpoint_starts_over(config: Path, tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert train(config, "--out", whole, "--steps", 3).exit_code == 0
    process = start(config, "--out", cut, "--steps", "3", "--set", "train.sample_every=1")
    while process.poll() is None and not (cut / "samples/1.png").exists():
        time.sleep(0.002)
    process.kill()
    process.communicate()
    early = not (cut / "checkpoints/latest").exists()  # else it was faster than the signal
    if early:
        with pytest.raises(RunError, match="no checkpoint yet"):
            load_pair(cut)
    resumed = train("--resume", cut)
    assert resumed.exit_code == 0
    assert ("begins anew" in resumed.stderr) == early
    assert weights(cut) == weights(whole)


def test_a_loss_that_is_not_finite_stops_the_run(config: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert train(config, "--out", run, "--steps", 3).exit_code == 0
    resolved = json.loads((run / "config.json").read_text())
    resolved["train"]["lr"] = 1e30  # the next update throws every weight out of float32
    (run / "config.json").write_text(json.dumps(resolved))
    stopped = train("--resume", run, "--steps", 12)
    assert stopped.exit_code == 1
    assert "diverged at step 5" in stopped.stderr or "diverged at step 4" in stopped.stderr
    assert "Traceback" not in stopped.stderr
    assert (run / "checkpoints/latest").read_text() == "3"
    assert load_pair(run).step == 3


def test_a_dry_run_prints_the_config_and_writes_nothing(config: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shown = train(
        config, "--out", run, "--dry-run", "--steps", 7, "--data", "elsewhere",
        "--set", "model.pairing=bigan", "--set", "regularisers.pairwise=1",
        "--set", "train.betas=[0.4, 0.8]",
    )  # fmt: skip
    assert shown.exit_code == 0, shown.output
    resolved = json.loads(shown.stdout)
    assert resolved["model"]["pairing"] == "bigan"
    assert resolved["regularisers"] == {"pairwise": 1}
    assert resolved["train"]["steps"] == 7
    assert resolved["train"]["betas"] == [0.4, 0.8]
    assert resolved["data"]["path"] == "elsewhere"
    assert not run.exists()


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--set", "train.stepz=3"], "steps"),
        (["--set", "training.steps=3"], "choose from: data, model"),
        (["--set", "model.pairing=cyclegan"], "aae, aegan, alad, ali, bigan"),
        (["--set", "model.network=unet"], "aegan, dcgan, dense, flat, mlp, resnet"),
        (["--set", "model.objective=vae"], "gan"),
        (["--set", "objective.rho=1"], "has no settings"),
        (["--set", "model.prior=cauchy"], "normal, uniform"),
        (["--set", "regularisers.r2=1"], "augment, clip, dragan"),
        (["--set", "regularisers.pairwise=1"], "joint critic"),
        (["--set", "weights.pixels=1"], "image"),
        (
            [
                *("--set", "model.pairing=bigan", "--set", "regularisers.pairwise=1"),
                *("--set", "train.compile=true"),
            ],
            "second derivatives",
        ),
        (["--set", "regularisers.r1=1", "--set", "train.compile=true"], "second derivatives"),
        (["--set", "train.steps=many"], "type int"),
        (["--set", "train.lr=nan"], "finite"),
        (["--set", "train.batch=1"], "at least 2"),
        (["--set", "model.image=[15, 16, 1]"], "16 to 256"),
        (["--set", "model.image=[16, 16]"], "takes 3 values"),
        (["--set", "nonsense"], "section.key=value"),
        (["--data", "nowhere"], "no data at 'nowhere'"),
        (["--set", "data.classes=['x']"], "choose from: 0, 1"),
        (["--set", "data.limit=1"], "items to train on"),
        (["--set", "data.group=kin"], "digits has no groups 'kin': only an .npz"),
    ],
)
def test_wrong_use_is_one_sentence_and_exit_code_2(
    config: Path, tmp_path: Path, arguments: list[str], why: str
) -> None:
    run = tmp_path / "run"
    refused = train(config, "--out", run, *arguments)
    assert refused.exit_code == 2, refused.output
    assert why in refused.stderr
    assert refused.stderr.startswith("Error: ")
    assert refused.stderr.count("\n") == 1
    assert not run.exists()


def test_wrong_use_of_run_directories(config: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert train(config, "--out", run, "--steps", 3).exit_code == 0
    cases: list[tuple[list[object], str]] = [
        ([config, "--out", run], "not empty"),
        (["--resume", tmp_path / "nowhere"], "no run directory"),
        (["--resume", run, "--data", "digits"], "--resume takes only"),
        (["--resume", run, "--set", "model.latent=9"], "its own data, model and objective"),
        (["--resume", run, "--set", "objective.rho=1"], "its own data, model and objective"),
        (["--resume", run, "--set", "train.optimiser=rmsprop"], "its own optimisers"),
        (["--resume", run, "--set", "train.lr=-1"], "must be positive"),
        (["--resume", run, "--set", "train.seed=1"], "its own seed"),
        (["--resume", run, "--steps", 2], "has trained 3 steps already"),
        ([], "name a config"),
        ([tmp_path / "no.toml"], "cannot be read"),
    ]
    for arguments, why in cases:
        refused = train(*arguments)
        assert (refused.exit_code, refused.stderr.count("\n")) == (2, 1), refused.output
        assert why in refused.stderr
    resolved = json.loads((run / "config.json").read_text())
    resolved["data"]["limit"] = 100
    (run / "config.json").write_text(json.dumps(resolved))
    refused = train("--resume", run)
    assert refused.exit_code == 2
    assert "is not the data this run began with" in refused.stderr


def test_families_that_changed_are_other_data(config: Path, tmp_path: Path) -> None:
    data, run = tmp_path / "families.npz", tmp_path / "run"
    images = np.random.default_rng(0).integers(0, 256, (40, 16, 16), np.uint8)
    np.savez(data, images=images, kin=np.arange(40) // 4)
    arguments = ("--data", data, "--out", run, "--steps", 2, "--set", "data.group=kin")
    done = train(config, *arguments, "--set", "data.flip=true")
    assert done.exit_code == 0, done.output
    found = json.loads((run / "config.json").read_text())["found"]
    assert (found["items"], found["held_out"]) == (32, 8)
    assert train("--resume", run, "--steps", 3).exit_code == 0
    np.savez(data, images=images, kin=np.arange(40) % 10)
    refused = train("--resume", run, "--steps", 4)
    assert refused.exit_code == 2
    assert "is not the data this run began with" in refused.stderr
    np.savez(data, images=images)
    refused = train("--resume", run, "--steps", 4)
    assert (refused.exit_code, refused.stderr.count("\n")) == (2, 1), refused.output
    assert "has no groups 'kin'" in refused.stderr


def test_labels_that_changed_are_other_data_to_who_is_told_them(
    config: Path, tmp_path: Path
) -> None:
    data, run = tmp_path / "kinds.npz", tmp_path / "run"
    images = np.random.default_rng(0).integers(0, 256, (40, 16, 16), np.uint8)
    kinds = np.array(["cat", "dog"])[np.arange(40) % 2]
    np.savez(data, images=images, labels=kinds)
    told = ("--set", "model.classes=2")
    done = train(config, "--data", data, "--out", run, "--steps", 1, *told)
    assert done.exit_code == 0, done.output
    assert train("--resume", run, "--steps", 2).exit_code == 0
    for other in (np.roll(kinds, 1), np.where(kinds == "dog", "fox", kinds)):
        np.savez(data, images=images, labels=other)
        resumed = train("--resume", run, "--steps", 3)
        assert (resumed.exit_code, resumed.stderr.count("\n")) == (2, 1), resumed.output
        assert "its labels changed" in resumed.stderr


def test_a_run_directory_that_cannot_be_made(config: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    refused = train(config, "--out", tmp_path / "file/run")
    assert (refused.exit_code, refused.stderr.count("\n")) == (1, 1), refused.output
    assert str(tmp_path / "file") in refused.stderr


@pytest.mark.parametrize("images", [2, 15])
def test_a_handful_of_images_trains(config: Path, tmp_path: Path, images: int) -> None:
    run = tmp_path / "run"
    done = train(
        config, "--out", run, "--steps", 2, "--set", f"data.limit={images}", "--set",
        "data.holdout=0",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert (run / "samples/2.png").exists()
    assert load_pair(run).step == 2


def test_a_kill_between_a_checkpoint_and_its_name_loses_nothing(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    keep_one = ("--set", "train.keep=1")
    assert train(config, "--out", run, "--steps", 4, *keep_one).exit_code == 0

    def killed(path: Path, text: str) -> None:
        if path.name == "latest":
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "write_whole", killed)
        assert train("--resume", run, "--steps", 8).exit_code == 1
    assert saved_steps(run) == [4, 6]
    assert load_pair(run).step == 4
    again = train("--resume", run, "--steps", 5)
    assert again.exit_code == 0, again.output
    assert load_pair(run).step == 5
    assert saved_steps(run) == [5]


def test_a_damaged_checkpoint_is_named(config: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert train(config, "--out", run, "--steps", 3).exit_code == 0
    weights_file = run / "checkpoints/3/weights.safetensors"
    whole = weights_file.read_bytes()
    for damaged in (whole[:100], b"", whole[:-8]):
        weights_file.write_bytes(damaged)
        with pytest.raises(RunError, match=r"weights\.safetensors"):
            load_pair(run)
        assert train("--resume", run, "--steps", 6).exit_code == 2
    weights_file.write_bytes(whole)
    (run / "checkpoints/3/state.pt").write_bytes(b"no state")
    assert "state.pt" in train("--resume", run, "--steps", 6).stderr


def test_half_precision_trains_and_keeps_float32_weights(config: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    done = train(config, "--out", run, "--steps", 2, "--set", "train.precision=bf16")
    assert done.exit_code == 0, done.output
    tensors = load_file(run / "checkpoints/2/weights.safetensors")
    assert {str(t.dtype) for t in tensors.values()} == {"torch.float32", "torch.int64"}


def test_a_loss_that_is_not_in_every_line_is_drawn_where_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for step, losses in enumerate(({"a": 3.0}, {"a": 2.0, "r1": 9.0}, {"a": 1.0}), 1):
        named = {f"critic/{name}": value for name, value in losses.items()}
        log.append(tmp_path, {"step": step, "losses": named | {"pair/b": 0.0}})
    drawn: dict[object, list[tuple[float, float]]] = {}
    save = Figure.savefig

    def watched(figure: Figure, *arguments: Any, **more: Any) -> None:
        for axis in figure.axes:
            for line in axis.lines:
                x, y = np.asarray(line.get_xdata()), np.asarray(line.get_ydata())
                drawn[line.get_label()] = list(zip(x.tolist(), y.tolist(), strict=True))
        save(figure, *arguments, **more)

    monkeypatch.setattr(Figure, "savefig", watched)
    log.draw(tmp_path)
    assert drawn == {
        "a": [(1, 3), (2, 2), (3, 1)],
        "r1": [(2, 9)],
        "b": [(1, 0), (2, 0), (3, 0)],
    }
    assert (tmp_path / "losses.png").stat().st_size > 0


def test_unreadable_files_are_counted_and_named(tmp_path: Path, config: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(30):
        Image.new("L", (16, 16), i * 8).save(folder / f"{i:02}.png")
    for i in range(7):
        (folder / f"bad{i}.jpg").write_text("no image")
    run = tmp_path / "run"
    done = train(config, "--data", folder, "--out", run, "--steps", 2)
    assert done.exit_code == 0, done.output
    assert "skipped 7 unreadable files" in done.stderr
    assert "bad0.jpg" in done.stderr
    skipped = json.loads((run / "config.json").read_text())["found"]["skipped"]
    assert [item["name"] for item in skipped] == [f"bad{i}.jpg" for i in range(7)]


@pytest.mark.parametrize("asked", ["group=kin", "flip=true"])
def test_what_only_images_have(tmp_path: Path, asked: str) -> None:
    ring = ROOT / "models/configs/ring.toml"
    refused = train(ring, "--out", tmp_path / "run", "--set", f"data.{asked}")
    assert refused.exit_code == 2
    assert f"data.{asked.split('=')[0]} is for images" in refused.stderr


def test_vectors_train_too(tmp_path: Path) -> None:
    run = tmp_path / "run"
    done = train(
        ROOT / "models/configs/ring.toml", "--out", run, "--steps", 4, "--set", "train.batch=16",
        "--set", "model.width=8", "--set", "train.threads=1", "--set", "train.critic_steps=2",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    with Image.open(run / "samples/4.png") as picture:
        assert picture.size == (1200, 400)
