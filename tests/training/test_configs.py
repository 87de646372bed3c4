"""The configs that come with the project build what they name, and train on the data they name."""

import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from biject import main

ROOT = Path(__file__).parents[2]
CONFIGS = sorted((ROOT / "models/configs").glob("*.toml"))
DATA = Path(os.environ.get("BIJECT_DATA", "nowhere"))
PLACES = {
    "digits": None,
    "digits-labels": None,
    "ring": None,
    "fashion": DATA / "fashion-mnist",
    "one-class": DATA / "fashion-mnist",
    "magnetic": DATA / "magnetic-tile/magnetic_tile_half.zip",
    "emoji": DATA / "noto-emoji/noto_emoji_64.npz",
    "kddcup99": DATA / "tabular/kddcup.data_10_percent.gz",
    "mnist-permutation": DATA / "mnist",
    "arrhythmia": DATA / "tabular/arrhythmia.data",
}


def test_every_config_is_known_here() -> None:
    assert {path.stem for path in CONFIGS} == set(PLACES)


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_a_config_builds_what_it_names(config: Path) -> None:
    shown = CliRunner().invoke(main, ["train", str(config), "--dry-run"])
    assert shown.exit_code == 0, shown.output


@pytest.mark.slow
@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_a_config_trains_on_its_data(config: Path, tmp_path: Path) -> None:
    place = PLACES[config.stem]
    if place is not None and not place.exists():
        pytest.skip(f"no data at {place}: set BIJECT_DATA")
    run = tmp_path / "run"
    arguments = ["train", str(config), "--out", str(run), "--steps", "3"]
    arguments += ["--data", str(place)] if place else []
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 0, done.output
    assert (run / "samples/3.png").exists()
    assert (run / "checkpoints/3/weights.safetensors").exists()
