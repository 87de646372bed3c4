"""Calibrated decisions flag as many normal images as was asked, within what chance allows.

With n calibration scores and k = floor(fpr (n + 1)), the number flagged among m fresh normal
images is Beta-binomial(m, k, n + 1 - k), whatever the scores' distribution.
"""

import math
import os
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from scipy.stats import betabinom, binom

from bars import bars
from biject import main
from models.datasets import load
from serving.bundle import find_bundles, read
from serving.engine import Engine
from serving.scoring import decide

SHIPPED = Path(__file__).parents[2] / "serving" / "bundles"
FASHION = Path(os.environ.get("BIJECT_DATA", "")) / "fashion-mnist"
RATES = (0.01, 0.05, 0.1)


def band(*, fresh: int, known: int, fpr: float) -> tuple[float, float]:
    """Counts that 99 % of all experiments lie between."""
    k = math.floor(fpr * (known + 1))
    low, high = betabinom.interval(0.99, fresh, k, known + 1 - k)
    return float(low), float(high)


def flagged(scores: np.ndarray, calibration: np.ndarray, fpr: float) -> int:
    return sum(map(bool, decide(scores, np.sort(calibration), fpr=fpr).anomalous))


@pytest.mark.parametrize("fpr", RATES)
@pytest.mark.parametrize("draw", ["exponential", "standard_cauchy"])
def test_of_any_scores_many_times(fpr: float, draw: str) -> None:
    rng = np.random.default_rng(3)
    counts = []
    for _ in range(1000):
        scores = getattr(rng, draw)(size=499)
        counts.append(flagged(scores[:299], scores[299:], fpr))  # n = 200 does not divide evenly
    k = math.floor(fpr * 201)
    low, high = band(fresh=299, known=200, fpr=fpr)
    inside = sum(low <= count <= high for count in counts)
    share = betabinom.cdf(high, 299, k, 201 - k) - betabinom.cdf(low - 1, 299, k, 201 - k)
    assert binom.cdf(inside, 1000, share) > 1e-4  # no fewer than the band promises
    spread = betabinom.std(299, k, 201 - k) / math.sqrt(1000)
    assert np.mean(counts) == pytest.approx(299 * k / 201, abs=4 * spread)


@pytest.fixture(scope="module")
def calibrated(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small trained pair, calibrated with 400 images it never saw."""
    folder = tmp_path_factory.mktemp("fresh")
    np.savez(folder / "fresh.npz", images=bars(400, seed=11)[0])
    out = folder / "bars" / "2"
    command = ["calibrate", str(bundle), "--data", str(folder / "fresh.npz"), "--out", str(out)]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0, result.output
    return out


IMAGE_TERMS = ("l1", "l2", "l2s", "peak", "blob", "cycle", "ssim", "prior")
TERMS = (*IMAGE_TERMS, "mahalanobis", "knn", "combined")


@pytest.mark.parametrize("term", TERMS)
def test_of_a_real_pair_on_fresh_normal_images(calibrated: Path, term: str) -> None:
    opened = read(calibrated)
    fresh = bars(2000, seed=12)[0][..., None]
    terms = Engine(opened, device="cpu").run("score", [fresh])[0]
    scores = terms[:, opened.manifest.score.terms.index(term)]
    known = opened.manifest.score.calibration[term]
    assert len(known) == 400 - 133  # the others lend their codes
    for fpr in RATES:
        low, high = band(fresh=2000, known=len(known), fpr=fpr)
        assert low <= flagged(scores, known, fpr) <= high, fpr
        assert flagged(scores * 2, known, fpr) > high  # abnormal ones are flagged


@pytest.mark.slow
@pytest.mark.skipif(
    not (FASHION / "t10k-images-idx3-ubyte.gz").exists(), reason=f"no {FASHION}: set BIJECT_DATA"
)
def test_of_the_model_that_ships_on_its_test_part(tmp_path: Path) -> None:
    shipped = find_bundles(SHIPPED)[-1].path
    out = tmp_path / "fashion" / "99"
    command = ["calibrate", str(shipped), "--data", str(FASHION), "--out", str(out)]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0, result.output
    opened = read(out)
    known = opened.manifest.score.calibration
    fresh = load(str(FASHION), opened.image_spec, split="test", limit=4000).images
    engine = Engine(opened, device="cpu")
    terms = np.concatenate(
        [engine.run("score", [fresh[i : i + 100]])[0] for i in range(0, len(fresh), 100)]
    )
    for column, term in enumerate(opened.manifest.score.terms):
        for fpr in RATES:
            low, high = band(fresh=len(terms), known=len(known[term]), fpr=fpr)
            assert low <= flagged(terms[:, column], known[term], fpr) <= high, (term, fpr)
