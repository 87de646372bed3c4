"""A small run and its bundle, exported once: torch's exporter takes most of the time."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from bars import make_run, write_data
from biject import main


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data, as bars.write_data leaves it."""
    return write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="session")
def run(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on single.npz."""
    return make_run(tmp_path_factory.mktemp("runs") / "bars", folder)


@pytest.fixture(scope="session")
def bundle(run: Path, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """bars/1, calibrated by export with what training held out."""
    out = tmp_path_factory.mktemp("models") / "bars" / "1"
    command = ["export", str(run), str(out), "--calibrate", str(folder / "single.npz")]
    result = CliRunner().invoke(main, command)
    assert (result.exit_code, result.stdout) == (0, f"{out}\n"), result.output
    assert (
        "30 normal images: 0.032 is the least rate at which anything can be flagged"
        in result.stderr
    )
    return out
