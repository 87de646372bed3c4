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


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_its_figures_hold_on_the_test_images(tmp_path: Path) -> None:
    fashion, mnist = DATA / "fashion-mnist", DATA / "mnist"
    if not (fashion.exists() and mnist.exists()):
        pytest.skip(f"no Fashion-MNIST and MNIST below {DATA}: set BIJECT_DATA")
    done = CliRunner().invoke(
        main,
        ["evaluate", str(BUNDLE), "--data", str(fashion), "--against", str(mnist), "--json"],
    )
    assert done.exit_code == 0, done.output
    figures = json.loads(done.stdout)
    stated = read(BUNDLE).manifest.to_dict()["quality"]
    assert figures["reconstruction"]["l1"] == pytest.approx(
        stated["reconstruction"]["l1"], abs=5e-4
    )
    assert figures["one_nn"]["encoder"] == pytest.approx(stated["one_nn"]["encoder"], abs=0.01)
    assert figures["anomaly"]["auroc"]["l2s"] == pytest.approx(
        stated["anomaly"]["auroc"]["l2s"], abs=5e-3
    )
    reached(figures)


def reached(figures: dict[str, dict[str, Any]]) -> None:
    """What the model was trained to reach, each figure at once in the complaint."""
    reconstruction, codes = figures["reconstruction"], figures["codes"]
    neighbours, samples = figures["one_nn"], figures["samples"]
    ratio = reconstruction["own_to_other"]
    missed = {
        name: value
        for name, value, holds in (
            ("l1", reconstruction["l1"], reconstruction["l1"] <= 0.041),
            ("own_to_other", ratio, ratio <= 0.27),
            ("1-NN", neighbours["encoder"], neighbours["encoder"] >= 0.83),
            ("mean", codes["mean"], max(map(abs, codes["mean"])) <= 0.3),
            ("std", codes["std"], codes["std"][0] >= 0.7 and codes["std"][1] <= 1.3),
            ("AUROC", figures["anomaly"]["auroc"], figures["anomaly"]["auroc"]["l2s"] >= 0.93),
            ("covered", samples["classes_covered"], samples["classes_covered"] == 10),
            ("largest share", samples["largest_share"], samples["largest_share"] <= 0.25),
            ("confidence", samples["confidence_ratio"], samples["confidence_ratio"] >= 0.9),
        )
        if not holds
    }
    assert not missed
