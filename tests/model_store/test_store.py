"""BentoML's model store: bundles go in, and are served and asked from there."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner

from bars import make_run, write_data
from export.cli import export
from server_process import ROOT, running

PUT = """
from pathlib import Path
from export.errors import BadOutput
from export.store import placed
from oracle import make_oracle
for name, version in (("oracle", None), ("oracle", None), ("oracle", 7), ("oracle", 3)):
    with placed(None, name=name, version=version, to_store=True) as place:
        make_oracle(place.path.parents[1], version=place.version, prior="uniform")
        print(place.version)
for out, name, version in ((Path("oracle/7"), None, None), (None, "bars_", None)):
    try:
        with placed(out, name=name, version=version, to_store=True):
            print("placed")
    except BadOutput as error:
        print(error)
"""


@pytest.fixture(scope="module", autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A store of this module's own; BentoML reads where it is once per process."""
    folder = tmp_path_factory.mktemp("bentoml")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENTOML_HOME", str(folder))
        patch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), str(ROOT / "tests")]))
        done = subprocess.run(
            [sys.executable, "-c", PUT], cwd=ROOT, capture_output=True, text=True, timeout=120
        )
        *versions, taken, unfit = done.stdout.splitlines()
        assert versions == ["1", "2", "7", "3"], done.stderr
        assert "bento:oracle:7 is in the model store" in taken
        assert "bars_ is no name for the model store" in unfit
        yield folder


def biject(*arguments: object, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "biject", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=120)


def test_a_model_in_the_store_is_served_the_last_one_made_by_default(tmp_path: Path) -> None:
    with running("bare", Path("bento:oracle"), tmp_path / "log") as server:
        (model,) = httpx.get(server.url + "/v1/models").json()["data"]
        assert (model["id"], model["version"]) == ("oracle", 3)
        answer = httpx.post(server.url + "/v1/models/oracle/sample")
        assert answer.json()["model"] == "oracle@3"


def test_what_the_store_lacks_is_said() -> None:
    done = biject("serve", "bento:none")
    assert done.returncode == 2, done
    assert "bento:none: no Models with name 'none' exist" in done.stderr
    assert "Traceback" not in done.stderr


def test_offline_verbs_take_one_from_the_store(tmp_path: Path) -> None:
    done = biject("sample", "bento:oracle:2", "-n", 2, "--out", tmp_path / "two.npz", "--seed", 0)
    assert (done.returncode, done.stdout) == (0, f"{tmp_path / 'two.npz'}: 2 images\nseed: 0\n")


@pytest.mark.slow
def test_export_puts_a_run_into_the_store(home: Path, tmp_path: Path) -> None:
    run = make_run(tmp_path / "bars", write_data(tmp_path))
    done = biject("export", run, "--store", "--name", "bars")
    assert (done.returncode, done.stdout) == (0, "bento:bars:1\n"), done.stderr
    manifest = json.loads((home / "models" / "bars" / "1" / "manifest.json").read_text())
    assert (manifest["name"], manifest["version"]) == ("bars", 1)
    assert manifest["training"]["export"] == "biject export bars --store --name bars"


def test_a_bundle_must_have_a_place_and_a_name(tmp_path: Path) -> None:
    for arguments, words in (((), "give OUT, --store, or both"), (("--store",), "give --name")):
        done = CliRunner().invoke(export, [str(tmp_path), *arguments])
        assert done.exit_code == 2, done
        assert words in done.stderr
