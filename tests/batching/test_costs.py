"""What a cost table says of batches: checked against tables worked out by hand."""

import numpy as np
import pytest

from serving.costs import HANDLING, MOST_SECONDS, Costs, padded

TABLE = {1: 1.0, 2: 1.2, 4: 2.0, 8: 4.8}  # milliseconds
MS = 1e-3


def costs(table: dict[int, float], buckets: tuple[int, ...] = ()) -> Costs:
    return Costs(points={"g": {n: ms * MS for n, ms in table.items()}}, buckets=buckets)


def test_seconds_are_linear_between_points_as_numpy_has_it() -> None:
    for rows in range(1, 9):
        wanted = np.interp(rows, list(TABLE), list(TABLE.values()))
        assert costs(TABLE).seconds("g", rows) == pytest.approx(wanted * MS)


@pytest.mark.parametrize(
    ("table", "rows", "milliseconds"),
    [
        pytest.param(TABLE, 16, 9.6, id="beyond the last point: in proportion"),
        pytest.param({4: 2.0, 8: 3.0}, 1, 2.0, id="below the first: no less than it"),
        pytest.param({1: 3.0}, 5, 15.0, id="one point"),
    ],
)
def test_seconds_outside_of_the_table(
    table: dict[int, float], rows: int, milliseconds: float
) -> None:
    assert costs(table).seconds("g", rows) == pytest.approx(milliseconds * MS)


@pytest.mark.parametrize(
    ("table", "most"),
    [
        # with 0.2 ms of handling for each batch
        pytest.param(TABLE, 4, id="the best per row: 1.2, .7, .55, .63"),
        pytest.param({1: 1.0, 2: 1.0, 4: 1.0}, 4, id="more is free"),
        pytest.param({1: 10.0, 2: 20.0, 4: 40.0}, 1, id="more wins nothing: 10.2, 10.1, 10.05"),
        pytest.param({1: 0.1, 2: 0.2, 4: 0.4}, 4, id="more saves handling: .3, .2, .15"),
        pytest.param({2: 8.2, 4: 16.0, 8: 31.9}, 2, id="within 5 % the smaller: 4.2, 4.05, 4.01"),
        pytest.param({1: 30.0, 2: 40.0, 4: 51.0}, 2, id="none above 50 ms"),
        pytest.param({1: 90.0, 2: 91.0}, 1, id="even one takes longer than that"),
    ],
)
def test_the_best_batch(table: dict[int, float], most: int) -> None:
    assert (MOST_SECONDS, HANDLING) == (0.05, 2e-4)
    assert costs(table).most("g") == most


@pytest.mark.parametrize(("waiting", "taken"), [(0, 0), (1, 1), (3, 3), (4, 4), (5, 4), (99, 4)])
def test_without_buckets_all_that_fits_is_taken(waiting: int, taken: int) -> None:
    assert costs(TABLE).take("g", waiting) == taken


@pytest.mark.parametrize(
    ("table", "waiting", "taken"),
    [
        # 3 rows: padded to 4 for 1.5 ms, or 2 and 1 for 2.1
        pytest.param({1: 1.0, 2: 1.1, 4: 1.5, 8: 2.0}, 3, 3, id="padding is cheaper"),
        # 5 rows: padded to 8 for 3 ms, or 4 and 1 for 2.1
        pytest.param({1: 0.5, 2: 0.9, 4: 1.6, 8: 3.0}, 5, 4, id="splitting is cheaper"),
        pytest.param({1: 1.0, 2: 1.1, 4: 1.5, 8: 2.0}, 8, 8, id="a bucket's own size"),
        pytest.param({1: 1.0, 2: 1.1, 4: 1.5, 8: 2.0}, 70, 8, id="no more than the best"),
        pytest.param({2: 1.0, 4: 1.5}, 1, 1, id="below the smallest bucket"),
    ],
)
def test_with_buckets_the_cheaper_of_padding_and_splitting(
    table: dict[int, float], waiting: int, taken: int
) -> None:
    assert costs(table, tuple(table)).take("g", waiting) == taken


def test_a_padded_batch_costs_what_its_bucket_costs() -> None:
    table = costs(TABLE, (1, 2, 4, 8))
    assert table.seconds("g", 3) == pytest.approx(2.0 * MS)
    assert table.seconds("g", 5) == pytest.approx(4.8 * MS)


@pytest.mark.parametrize(("rows", "size"), [(1, 2), (2, 2), (3, 8), (8, 8), (9, 9)])
def test_padding(rows: int, size: int) -> None:
    assert padded((2, 8), rows) == size


def test_without_buckets_nothing_is_padded() -> None:
    assert padded((), 5) == 5


@pytest.mark.parametrize(
    ("table", "buckets", "words"),
    [
        ({}, (), "positive"),
        ({0: 1.0}, (), "positive"),
        ({1: 0.0}, (), "positive"),
        ({1: 1.0, 2: float("nan")}, (), "positive"),
        ({1: float("inf")}, (), "positive"),
        ({1: 1.0, 2: 1.0}, (1, 4), "bucket 4 was not measured"),
    ],
)
def test_nonsense_is_refused(table: dict[int, float], buckets: tuple[int, ...], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        costs(table, buckets)
