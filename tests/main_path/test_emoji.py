"""`emoji` is as good as its card says: its answers, its samples, and real images where they are."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from models.config import Config
from models.datasets import Dataset
from models.training.loop import read_data
from serving.bundle import read
from serving.engine import Engine
from serving.latents import sample

ROOT = Path(__file__).parents[2]
BUNDLE = ROOT / "serving/bundles/emoji/1"
DATA = Path(os.environ.get("BIJECT_DATA", "nowhere")) / "noto-emoji/noto_emoji_64.npz"
MOST_BYTES = 12_000_000

Images = npt.NDArray[np.uint8]


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine(read(BUNDLE), device="cpu")


@pytest.fixture(scope="module")
def manifest() -> dict[str, Any]:
    return read(BUNDLE).manifest.to_dict()


@pytest.fixture(scope="module")
def data(manifest: dict[str, Any]) -> Dataset:
    """The data of the training, as its config reads it."""
    if not DATA.exists():
        pytest.skip(f"no emoji at {DATA}: set BIJECT_DATA")
    return read_data(recipe(manifest).changed([f"data.path={DATA}"]))


@pytest.fixture(scope="module")
def parts(data: Dataset, manifest: dict[str, Any]) -> tuple[Dataset, Dataset]:
    """(trained on, held out)."""
    config = recipe(manifest)
    return data.held_out(config.data.holdout, config.train.seed)


def recipe(manifest: dict[str, Any]) -> Config:
    return Config.from_dict(manifest["training"]["config"])


def error(engine: Engine, images: Images) -> float:
    """Mean |x - G(E(x))| / 255."""
    rows = range(0, len(images), 64)
    again = np.concatenate([engine.run("reconstruct", [images[i : i + 64]])[1] for i in rows])
    return float(np.abs(images.astype(float) - again).mean() / 255)


def test_it_is_whole_small_and_says_where_it_comes_from() -> None:
    opened = read(BUNDLE, name="emoji", version=1)
    assert opened.manifest.image is not None
    assert opened.manifest.image.shape == (64, 64, 3)
    assert opened.manifest.latent.size == 128
    assert sum(file.stat().st_size for file in BUNDLE.iterdir()) <= MOST_BYTES
    card = (BUNDLE / "card.md").read_text(encoding="utf-8")
    for words in ("Apache-2.0", "biject train models/configs/emoji.toml", "`base`", "CPU"):
        assert words in card, words


def test_it_answers_as_its_networks_did(engine: Engine, manifest: dict[str, Any]) -> None:
    with np.load(BUNDLE / "golden.npz", allow_pickle=False) as golden:
        for name, graph in manifest["graphs"].items():
            given = golden[f"{name}.{graph['inputs'][0]['name']}"]
            for output, found in zip(graph["outputs"], engine.run(name, [given]), strict=True):
                wanted = golden[f"{name}.{output['name']}"].astype(float)
                near = 1 if output["dtype"] == "uint8" else 1 / 255  # a grey level, in heat too
                assert np.abs(found - wanted).max() <= near, (name, output["name"])


def test_its_samples_are_of_many_kinds(engine: Engine) -> None:
    samples = engine.run("decode", [sample(0, 64, 128, "normal")])[0].astype(float) / 255
    pairs = np.abs(samples[:, None] - samples[None]).mean(axis=(2, 3, 4))
    apart = pairs[~np.eye(64, dtype=bool)]
    assert apart.mean() >= 0.15  # real emoji: 0.27
    assert apart.min() >= 0.02  # real emoji: 0.026
    assert (samples[:, :2].mean() + samples[:, :, :2].mean()) / 2 >= 0.9  # on white


def test_its_samples_have_no_checkerboard(engine: Engine) -> None:
    samples = engine.run("decode", [sample(1, 64, 128, "normal")])[0].astype(float)
    for size in (1, 2, 4):  # of a field, in pixels
        fields = samples.reshape(64, 64 // size, size, 64 // size, size, 3).mean(axis=(2, 4))
        sign = (-1.0) ** np.add.outer(np.arange(64 // size), np.arange(64 // size))
        locked = np.abs((fields * sign[..., None]).mean(axis=(1, 2))).mean()
        assert locked <= 0.5, size  # grey levels


def test_no_emoji_has_variants_on_both_sides(
    parts: tuple[Dataset, Dataset], manifest: dict[str, Any]
) -> None:
    with np.load(DATA) as arrays:
        base = {x.tobytes(): name for x, name in zip(arrays["images"], arrays["base"], strict=True)}
    trained, held_out = ({base[x.tobytes()] for x in part.images} for part in parts)
    assert trained.isdisjoint(held_out)
    assert trained | held_out == set(base.values())
    sizes = [len(part) for part in parts]
    assert sizes == [manifest["training"]["items"], manifest["training"]["held_out"]]
    assert sizes[1] / sum(sizes) == pytest.approx(0.1, abs=0.01)
    assert np.array_equal(parts[0].hashes(), np.load(BUNDLE / manifest["training"]["hashes"]))


def test_it_reconstructs_as_its_card_says(
    engine: Engine, parts: tuple[Dataset, Dataset], manifest: dict[str, Any]
) -> None:
    trained, held_out = (error(engine, part.images) for part in parts)
    assert trained <= 0.05
    assert held_out <= 0.085
    stated = manifest["quality"]["reconstruction"]
    assert held_out == pytest.approx(stated["l1"], abs=5e-4)
    assert trained == pytest.approx(stated["trained_on"]["l1"], abs=5e-4)
    mean = parts[0].images.mean(axis=0)
    assert np.abs(parts[1].images - mean).mean() / 255 >= 2 * held_out
