"""Errors are told as they are, and judged relative to large values."""

from typing import Any

import numpy as np
import pytest

from export import graphs, parity
from export.errors import ParityFailure
from small_pairs import vector_pair

LARGE = np.array([[0.5, 200.0], [0.25, 400.0]], np.float32)


def measured(monkeypatch: pytest.MonkeyPatch, skew: np.ndarray) -> list[parity.OutputError]:
    """The errors of a score graph whose terms and heat are LARGE in torch, and off by `skew`."""

    class Skewed:
        def __init__(self, *_: Any, **__: Any) -> None: ...

        def run(self, *_: Any) -> list[np.ndarray]:
            return [(LARGE + skew).astype(np.float32)] * 2

        def close(self) -> None: ...

    monkeypatch.setattr(parity, "Engine", Skewed)
    monkeypatch.setattr(parity, "expected", lambda *_: [LARGE, LARGE])
    pair = vector_pair()
    bundle: Any = None  # only the engine would look at it
    return parity.measure(bundle, pair, {"score": graphs.build(pair)["score"]})


def test_a_large_value_is_judged_relatively_and_its_error_told_absolutely(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    errors = measured(monkeypatch, np.array([[0.0, 0.0], [0.0, 0.03125]]))  # 0.03125 of 400
    told = parity.to_dict(errors)["errors"]["score"]
    assert told == {"terms": 0.03125, "heat": 0.03125}
    assert [each.judged for each in errors] == [0.03125 / 400] * 2
    parity.require(errors)


def test_the_largest_absolute_error_need_not_be_the_one_that_fails(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    errors = measured(monkeypatch, np.array([[0.015625, 0.0], [0.0, 0.03125]]))
    assert [(each.absolute, each.judged) for each in errors] == [(0.03125, 0.015625)] * 2
    with pytest.raises(ParityFailure, match=r"terms by 0\.0156 relatively, allowed"):
        parity.require(errors)


def test_what_is_not_a_number_never_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    errors = measured(monkeypatch, np.array([[np.nan, 0.0], [0.0, 0.0]]))
    assert not any(each.holds for each in errors)
    assert all(np.isnan(each.absolute) for each in errors)
