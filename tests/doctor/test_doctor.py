"""`biject doctor`: it says what there is, tries it, and notices what is wrong."""

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import biject
from serving import doctor, trial
from serving.engine import Engine
from serving.settings import BUNDLES

ROOT = Path(__file__).parents[2]


def run(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(biject.main, ["doctor", "--seconds", "0.2", *arguments])
    return done.exit_code, done.stdout


def test_it_tells_versions_devices_and_how_a_model_does() -> None:
    code, out = run("--json")
    found = json.loads(out)
    assert code == 0
    assert found["packages"]["numpy"] == metadata.version("numpy")
    assert found["offered"]
    tried = found["trial"]
    assert tried["model"] == "fashion@1"
    assert tried["device"] == ("cuda" if found["cuda"] is True else "cpu")
    assert all(speed > 0 for speed in tried["images_per_second"].values())
    assert "CPUExecutionProvider" in found["offered"]


def test_it_needs_no_torch_and_says_that_there_is_none() -> None:
    """In an environment that has none: its metadata is not found either."""
    code = (
        "import sys\nfrom importlib import metadata\nfound = metadata.version\n"
        "def version(name):\n"
        "    if name == 'torch': raise metadata.PackageNotFoundError(name)\n"
        "    return found(name)\n"
        "metadata.version = version\nsys.modules['torch'] = None\n"
        "import biject; biject.main(['doctor', '--seconds', '0.2'])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "torch: not installed" in done.stdout
    assert "advice: train, evaluate and export need more" in done.stdout


@pytest.mark.parametrize("graph", ["encode", "decode", "reconstruct", "score"])
@pytest.mark.parametrize("wrong", [1.0, np.nan])
def test_an_engine_that_answers_otherwise_than_it_should_fails(
    graph: str, wrong: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = Engine.run

    def run_wrongly(engine: Engine, asked: str, inputs: Sequence[Any]) -> list[Any]:
        answers = right(engine, asked, inputs)
        if asked != graph:
            return answers
        return [255 - one if one.dtype == np.uint8 else one + one.dtype.type(wrong)
                for one in answers]  # fmt: skip

    monkeypatch.setattr(Engine, "run", run_wrongly)
    assert trial.trial(0.2)["error"].startswith(f"{graph} gives ")


def test_an_engine_that_fails_is_what_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(engine: Engine, graph: str, inputs: Sequence[Any]) -> list[Any]:
        raise RuntimeError("no kernel\nfor this")

    monkeypatch.setattr(Engine, "run", fail)
    code, out = run()
    assert code == 1
    assert "trial: failed: its graphs do not run: no kernel for this" in out


def test_answers_that_are_not_the_golden_ones_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(BUNDLES / "fashion", tmp_path / "fashion")
    golden = tmp_path / "fashion" / "1" / "golden.npz"
    with np.load(golden) as arrays:
        spoilt = dict(arrays) | {"encode.latents": arrays["encode.latents"] + 1}
    np.savez(golden, **spoilt)
    monkeypatch.setattr(trial, "BUNDLES", tmp_path)
    code, out = run()
    assert code == 1
    assert "trial: failed: encode gives latents that differ" in out
    shutil.rmtree(tmp_path / "fashion")
    assert "no bundle in" in trial.trial(0.2)["error"]


def test_advice_follows_from_what_is_found() -> None:
    well = {
        "packages": {"onnxruntime": None, "onnxruntime-gpu": "1", "torch": "2"},
        "system": {"open_files": 65_536, "temporary": True},
        "gpus": [],
        "torch": "cpu",
        "cuda": "no driver",
        "memory": 2**34,
        "costs": True,
        "trial": {},
    }
    assert list(doctor.advice(well)) == []
    ill = {
        "packages": {"onnxruntime": "1", "onnxruntime-gpu": "1", "torch": None},
        "system": {"open_files": 256, "temporary": False},
        "gpus": ["H100"],
        "torch": "cpu",
        "cuda": "no cuDNN",
        "memory": 2**20,
        "costs": False,
        "trial": {"error": "x"},
    }
    assert len(list(doctor.advice(ill))) == 9


def test_an_onnxruntime_that_cannot_be_imported_is_what_it_is_for() -> None:
    code = (
        "import sys; sys.modules['onnxruntime'] = None\n"
        "import biject; biject.main(['doctor', '--seconds', '0.2'])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "trial: failed: onnxruntime, or what comes with it, cannot be imported" in done.stdout
    assert "numpy: " in done.stdout
