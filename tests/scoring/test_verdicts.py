"""p-values, thresholds and decisions, counted by hand and by brute force."""

import numpy as np
import pytest

from serving.errors import Unprocessable
from serving.scoring import decide, p_values, threshold

CALIBRATION = np.array([1.0, 2.0, 2.0, 3.0])  # n = 4, so p-values are fifths


@pytest.mark.parametrize(
    ("score", "fifths"),
    [(0.5, 5), (1.0, 5), (1.5, 4), (2.0, 4), (2.5, 2), (3.0, 2), (3.5, 1), (np.inf, 1)],
)
def test_a_p_value_counts_the_scores_that_are_as_high(score: float, fifths: int) -> None:
    assert p_values(np.array([score]), CALIBRATION).tolist() == [fifths / 5]


def test_scores_are_compared_as_they_are_and_not_rounded() -> None:
    third = np.float32(1) / np.float32(3)  # a little over 1/3 in float32
    calibration = np.array([1 / 3])
    assert p_values(np.array([third], np.float32), calibration).tolist() == [0.5]
    assert p_values(np.array([1 / 3]), calibration).tolist() == [1.0]


@pytest.mark.parametrize(
    ("fpr", "limit"),
    [
        (0.19, None),  # below 1/5
        (0.2, 3.0),
        (0.39, 3.0),
        (0.4, 2.0),
        (0.6, 2.0),
        (0.8, 1.0),
        (0.99, 1.0),
    ],
)
def test_the_threshold_is_the_kth_highest_score(fpr: float, limit: float | None) -> None:
    assert threshold(CALIBRATION, fpr) == limit


@pytest.mark.parametrize("n", [1, 2, 19, 99, 100, 333])
def test_threshold_and_p_value_decide_alike_to_the_last_bit(n: int) -> None:
    """Also at fpr = k / (n + 1), where n + 1 times it is a rounding error away from k."""
    calibration = np.sort(np.random.default_rng(n).integers(0, n, n).astype(float))
    scores = np.arange(-1, n + 1, 0.5)
    p = np.array([(1 + sum(c >= s for c in calibration)) / (n + 1) for s in scores])
    ranks = np.arange(1, n + 1) / (n + 1)
    rates = [ranks, np.nextafter(ranks, 0), np.nextafter(ranks, 1)]
    for fpr in [*np.concatenate(rates).tolist(), 0.05, 0.29, 1e-6, 1 - 1e-9]:
        verdict = decide(scores, calibration, fpr=fpr)
        assert verdict.p_values == p.tolist()
        assert verdict.anomalous == (p <= fpr).tolist()
        if verdict.threshold is None:
            assert not any(verdict.anomalous)
            assert fpr < 1 / (n + 1)
        else:
            assert verdict.anomalous == (scores > verdict.threshold).tolist()


def test_no_more_normal_images_are_flagged_than_was_asked() -> None:
    rng = np.random.default_rng(1)
    shares = []
    for _ in range(300):
        calibration = np.sort(rng.exponential(size=199))
        flagged = decide(rng.exponential(size=100), calibration, fpr=0.05).anomalous
        shares.append(np.mean(np.array(flagged)))
    # 10 / 200 on average, by symmetry; the standard error over these draws is about 0.0015.
    assert np.mean(shares) == pytest.approx(0.05, abs=0.006)


def test_too_few_scores_flag_nothing_and_say_so() -> None:
    verdict = decide(np.array([99.0, 0.0]), CALIBRATION, fpr=0.1)
    assert verdict.threshold is None
    assert verdict.anomalous == [False, False]
    assert verdict.p_values == [0.2, 1.0]
    assert verdict.note is not None
    assert "4 calibration scores can give is 0.2" in verdict.note


def test_a_verdict_that_can_be_given_needs_no_note() -> None:
    assert decide(np.array([99.0]), CALIBRATION, fpr=0.2).note is None


@pytest.mark.parametrize("calibration", [None, np.array([])])
def test_without_calibration_nothing_is_judged(calibration: np.ndarray | None) -> None:
    verdict = decide(np.array([1.0, 2.0, 3.0]), calibration)
    assert verdict.p_values == [None, None, None]
    assert verdict.anomalous == [None, None, None]
    assert verdict.threshold is None
    assert verdict.note is not None
    assert "not calibrated" in verdict.note


@pytest.mark.parametrize("fpr", [0, 1, -0.1, 1.5, float("nan"), float("inf")])
def test_a_rate_that_is_none_is_refused(fpr: float) -> None:
    with pytest.raises(Unprocessable, match="fpr must lie between 0 and 1"):
        decide(np.array([1.0]), CALIBRATION, fpr=fpr)


def test_answers_are_plain_python_for_json() -> None:
    verdict = decide(np.array([1.0], np.float32), CALIBRATION, fpr=0.4)
    assert type(verdict.p_values[0]) is float
    assert type(verdict.anomalous[0]) is bool
    assert type(verdict.threshold) is float
