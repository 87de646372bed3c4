"""`biject doctor`: it says what there is, tries it, and notices what is wrong."""

import json
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import biject
from serving import doctor
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
    assert found["devices"]["offered"]
    trial = found["trial"]
    assert trial["model"] == "fashion@1"
    assert trial["device"] == ("cuda" if found["devices"]["cuda"] is True else "cpu")
    assert all(speed > 0 for speed in trial["images_per_second"].values())
    assert "CPUExecutionProvider" in found["devices"]["offered"]


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


def test_answers_that_are_not_the_golden_ones_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(BUNDLES / "fashion", tmp_path / "fashion")
    golden = tmp_path / "fashion" / "1" / "golden.npz"
    with np.load(golden) as arrays:
        spoilt = dict(arrays) | {"encode.latents": arrays["encode.latents"] + 1}
    np.savez(golden, **spoilt)
    monkeypatch.setattr(doctor, "BUNDLES", tmp_path)
    code, out = run()
    assert code == 1
    assert "trial: failed: encode gives latents that differ" in out
    shutil.rmtree(tmp_path / "fashion")
    assert "no bundle in" in doctor.trial(0.2)["error"]


def test_advice_follows_from_what_is_found() -> None:
    well = {
        "packages": {"onnxruntime": None, "onnxruntime-gpu": "1", "torch": "2"},
        "devices": {"gpus": [], "cuda": "no driver", "torch": "cpu"},
        "system": {"free_memory": 2**34, "open_files": 65_536,
                   "writable": {"temporary": True, "costs": True}},
        "trial": {},
    }  # fmt: skip
    assert list(doctor.advice(well)) == []
    devices = {"gpus": ["H100"], "cuda": "no cuDNN", "torch": "cpu"}
    ill = {
        "packages": {"onnxruntime": "1", "onnxruntime-gpu": "1", "torch": None},
        "devices": devices,
        "system": {"free_memory": 2**20, "open_files": 256,
                   "writable": {"temporary": False, "costs": False}},
        "trial": {"error": "x"},
    }  # fmt: skip
    assert len(list(doctor.advice(ill))) == 9
