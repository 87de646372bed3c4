"""`fashion` is as good as its card says: measured by the project's own command on real images."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from biject import main
from serving.bundle import read

ROOT = Path(__file__).parents[2]
BUNDLE = ROOT / "serving/bundles/fashion/1"
DATA = Path(os.environ.get("BIJECT_DATA", "nowhere"))
MOST_BYTES = 5_000_000


def test_it_is_whole_small_and_says_where_it_comes_from() -> None:
    manifest = read(BUNDLE).manifest
    assert manifest.image is not None
    assert manifest.image.shape == (32, 32, 1)
    assert manifest.latent.size == 64
    assert sum(file.stat().st_size for file in BUNDLE.iterdir()) <= MOST_BYTES
    card = (BUNDLE / "card.md").read_text(encoding="utf-8")
    for words in ("MIT (Zalando SE)", "biject train", "54000", "6000", "CPU", "AUROC", "1-NN"):
        assert words in card, words


@pytest.fixture(scope="module")
def figures() -> dict[str, Any]:
    """What `biject evaluate` finds on the test images now."""
    fashion, mnist = DATA / "fashion-mnist", DATA / "mnist"
    if not (fashion.exists() and mnist.exists()):
        pytest.skip(f"no Fashion-MNIST and MNIST below {DATA}: set BIJECT_DATA")
    arguments = [str(BUNDLE), "--data", str(fashion), "--against", str(mnist), "--json"]
    done = CliRunner().invoke(main, ["evaluate", *arguments])
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_card_says_what_is_found(figures: dict[str, Any]) -> None:
    stated = read(BUNDLE).manifest.to_dict()["quality"]
    for part, key, tolerance in (
        ("reconstruction", "l1", 5e-4),
        ("reconstruction", "own_to_other", 5e-3),
        ("one_nn", "encoder", 0.01),
        ("samples", "largest_share", 0.03),
    ):
        assert figures[part][key] == pytest.approx(stated[part][key], abs=tolerance), key
    assert figures["anomaly"]["auroc"] == pytest.approx(stated["anomaly"]["auroc"], abs=5e-3)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_it_reaches_what_it_was_trained_for(figures: dict[str, Any]) -> None:
    assert figures["reconstruction"]["l1"] <= 0.041
    assert figures["reconstruction"]["own_to_other"] <= 0.27
    assert figures["one_nn"]["encoder"] >= 0.83
    assert max(map(abs, figures["codes"]["mean"])) <= 0.3
    assert figures["codes"]["std"][0] >= 0.7
    assert figures["codes"]["std"][1] <= 1.3
    assert figures["anomaly"]["auroc"]["l2s"] >= 0.95
    assert figures["samples"]["classes_covered"] == 10
    assert figures["samples"]["largest_share"] <= 0.25


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_its_samples_are_as_clear_as_real_images(figures: dict[str, Any]) -> None:
    assert figures["samples"]["confidence_ratio"] >= 0.9
