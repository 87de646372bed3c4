"""When requests are due, and percentiles: against numpy and by hand."""

import numpy as np
import pytest
from scipy import stats

from serving.load.figures import Outcome, figures_of
from serving.load.schedule import due_times, percentiles


@pytest.mark.parametrize("count", [1, 2, 3, 10, 999])
def test_percentiles_are_numpys(count: int) -> None:
    values = np.random.default_rng(count).lognormal(size=count)
    points = (0, 1, 50, 90, 99, 99.9, 100)
    found = percentiles(list(values), points)
    np.testing.assert_allclose(found, np.percentile(values, points), rtol=1e-12)


def test_percentiles_of_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="nothing"):
        percentiles([], (50,))


def test_even_gaps() -> None:
    assert due_times(4, 1) == [0, 0.25, 0.5, 0.75]
    assert due_times(0.5, 3) == [0, 2]
    assert due_times(10, 0) == []
    assert len(due_times(1000, 2.5)) == 2500


def test_a_poisson_schedule_is_exponential_and_depends_on_its_seed_alone() -> None:
    times = due_times(200, 50, seed=7)
    assert times == due_times(200, 50, seed=7) != due_times(200, 50, seed=8)
    assert times == sorted(times)
    assert times[0] > 0
    assert times[-1] < 50
    assert len(times) == pytest.approx(10_000, rel=0.04)
    gaps = np.diff([0, *times])
    assert stats.kstest(gaps, "expon", args=(0, 1 / 200)).pvalue > 0.01
    assert due_times(200, 10, seed=7) == [time for time in times if time < 10]


@pytest.mark.parametrize(("rate", "seconds"), [(0, 1), (-1, 1), (1, -1)])
def test_a_schedule_of_no_rate_is_refused(rate: float, seconds: float) -> None:
    with pytest.raises(ValueError, match="above 0"):
        due_times(rate, seconds)


def test_figures_count_by_status_and_failure_and_time_from_when_it_was_due() -> None:
    outcomes = [
        Outcome(0.5, 0.5, 1.5, 200),  # due before the window, answered in it
        Outcome(1.0, 1.0, 1.1, 200),
        Outcome(1.2, 1.5, 1.6, 200),  # sent late
        Outcome(1.3, 1.3, 1.4, 429, None, 2.0),
        Outcome(1.4, 1.4, 1.5, 429, None, 0.5),
        Outcome(1.5, 1.5, 1.9, None, "timeout"),
        Outcome(2.9, 2.9, 3.5, 200),  # answered after the window
    ]
    found = figures_of(outcomes, begin=1, end=3, unsent=4, images=10)
    assert (found.sent, found.unsent, found.seconds) == (6, 4, 2)
    assert found.statuses == {200: 3, 429: 2}
    assert found.failures == {"timeout": 1}
    assert (found.throughput, found.goodput) == (2.5, 1.5)
    assert found.images_per_second == 15
    assert found.latency["2xx"].count == 3
    assert found.latency["2xx"].p50 == pytest.approx(400)  # of 100, 400, 600
    assert found.latency["2xx"].max == pytest.approx(600)
    assert found.latency["4xx"].p99 == pytest.approx(100)
    assert found.late_ms == pytest.approx(300)
    assert found.retry_after == (0.5, 2.0)
    assert found.to_dict()["statuses"] == {"200": 3, "429": 2}


def test_figures_of_nothing() -> None:
    found = figures_of([], begin=0, end=1)
    assert (found.sent, found.throughput, found.late_ms, found.latency) == (0, 0, 0, {})
