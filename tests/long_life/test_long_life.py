"""What the oldest biject wrote, today's opens: a bundle of format 1, and a run that was cut.

Both were made by commit 28996fd, the first that could export: `old/1` is 40 steps of digits.toml at
16x16, `old_run` the ring at step 20 of 40, `old_run_at_40.safetensors` what that commit went on to.
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from serving import open_bundle
from serving.bundle import read
from serving.engine import Engine

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
OLD = HERE / "old" / "1"
STEPS = 40


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine(read(OLD, name="old", version=1), device="cpu", threads=1)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A copy of the old run: a resume writes into it."""
    return Path(shutil.copytree(HERE / "old_run", tmp_path / "old_run"))


def resumed(run: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "biject", "train", "--resume", str(run), "--device", "cpu"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("graph", ["encode", "decode", "reconstruct", "score"])
def test_an_old_bundle_gives_the_answers_it_was_written_with(engine: Engine, graph: str) -> None:
    info = engine.bundle.manifest.graphs[graph]
    with np.load(OLD / "golden.npz") as golden:
        answers = engine.run(graph, [golden[f"{graph}.{each.name}"] for each in info.inputs])
        for each, answer in zip(info.outputs, answers, strict=True):
            expected = golden[f"{graph}.{each.name}"]
            level = 1.0 if expected.dtype == np.uint8 else 1 / 255  # one grey level, and heat by it
            atol = level + 1e-4 if expected.ndim > 2 else 1e-4
            np.testing.assert_allclose(
                answer.astype(np.float64), expected.astype(np.float64), rtol=0, atol=atol
            )


def test_nothing_that_an_old_manifest_says_is_lost() -> None:
    manifest = read(OLD, name="old", version=1).manifest
    assert manifest.to_dict() == json.loads((OLD / "manifest.json").read_text())


def test_every_verb_works_on_an_old_bundle() -> None:
    with np.load(OLD / "golden.npz") as golden:
        images, latents = golden["encode.images"], golden["encode.latents"]
    with open_bundle(OLD, device="cpu") as pair:
        np.testing.assert_allclose(pair.encode(images), latents, atol=1e-4)
        assert pair.decode(latents).shape == images.shape
        assert pair.sample(3, seed=1).shape == (3, 16, 16, 1)
        assert len(pair.score(images).terms) == len(images)
        assert pair.interpolate(images[:2], frames=5).shape == (5, 16, 16, 1)


def test_an_old_run_goes_on_to_where_its_own_version_went(run: Path) -> None:
    done = resumed(run)
    assert done.returncode == 0, done.stderr
    assert (run / "checkpoints" / "latest").read_text() == str(STEPS)
    ended = load_file(run / "checkpoints" / str(STEPS) / "weights.safetensors")
    expected = load_file(HERE / "old_run_at_40.safetensors")
    assert ended.keys() == expected.keys()
    for name, weight in expected.items():
        torch.testing.assert_close(ended[name], weight, rtol=1e-4, atol=1e-5)
    steps = [json.loads(line)["step"] for line in (run / "log.jsonl").read_text().splitlines()]
    assert steps == [10, 20, 30, 40]
    with Image.open(run / "samples" / f"{STEPS}.png") as picture:
        assert picture.width > 0


def _without_an_optimiser(run: Path) -> None:
    file = run / "checkpoints" / "20" / "state.pt"
    state = torch.load(file, weights_only=True)
    del state["critic_optimiser"]
    torch.save(state, file)


def _with_a_setting_of_tomorrow(run: Path) -> None:
    file = run / "config.json"
    document = json.loads(file.read_text())
    document["train"]["patience"] = 3
    file.write_text(json.dumps(document))


def _wider(run: Path) -> None:
    file = run / "config.json"
    document = json.loads(file.read_text())
    document["model"]["width"] = 8
    file.write_text(json.dumps(document))


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (_without_an_optimiser, "critic_optimiser"),
        (_with_a_setting_of_tomorrow, "patience"),
        (_wider, "do not fit its config"),
    ],
)
def test_a_run_that_cannot_go_on_says_why_in_a_sentence(
    run: Path, spoil: Callable[[Path], None], why: str
) -> None:
    spoil(run)
    done = resumed(run)
    assert done.returncode in (1, 2), done.stderr
    assert "Traceback" not in done.stderr
    said = done.stderr.strip().splitlines()[-1]
    assert said.startswith("Error: "), done.stderr
    assert why in said
    assert (run / "checkpoints" / "latest").read_text() == "20"
