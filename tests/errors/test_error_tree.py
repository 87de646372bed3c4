"""The errors of serving/: statuses as architecture fixes them, and the tree as it is drawn."""

import re

import pytest

from serving import errors
from serving.errors import (
    BundleError,
    Busy,
    DeviceError,
    ItemProblem,
    NotReady,
    ServingError,
    Unprocessable,
)

STATUSES = {
    "BadRequest": 400,
    "Unauthorised": 401,
    "Forbidden": 403,
    "NotFound": 404,
    "MethodNotAllowed": 405,
    "NotAcceptable": 406,
    "RequestTimeout": 408,
    "TooLarge": 413,
    "UnsupportedType": 415,
    "Unprocessable": 422,
    "Busy": 429,
    "RateExceeded": 429,
    "ComputeFailed": 500,
    "NotReady": 503,
    "DeadlineExceeded": 504,
}


@pytest.mark.parametrize(("name", "status"), STATUSES.items())
def test_every_refusal_has_its_status(name: str, status: int) -> None:
    error = getattr(errors, name)("because")
    assert isinstance(error, ServingError)
    assert error.status == status
    assert str(error) == error.detail == "because"
    assert error.title


def test_the_tree_is_drawn_as_it_is() -> None:
    drawn = dict(re.findall(r"^(?:│   )?[├└]── (\w+) +(\d{3})", errors.__doc__ or "", re.MULTILINE))
    assert {name: int(status) for name, status in drawn.items()} == STATUSES
    defined = {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, ServingError) and name[0] != "_"
    }
    assert defined == {"ServingError", *STATUSES}


def test_an_error_carries_items_and_headers() -> None:
    items = [ItemProblem(1, "no image"), ItemProblem(3, "too large")]
    error = Unprocessable("two of four", items=items, headers={"X-A": "b"})
    assert error.items == (ItemProblem(1, "no image"), ItemProblem(3, "too large"))
    assert error.headers == {"X-A": "b"}
    assert Unprocessable("x").headers == {}
    assert Unprocessable("x").items == ()


@pytest.mark.parametrize("kind", [Busy, NotReady])
@pytest.mark.parametrize(("seconds", "header"), [(0, "1"), (0.2, "1"), (1, "1"), (2.1, "3")])
def test_a_refusal_that_passes_says_when_in_whole_seconds(
    kind: type[Busy], seconds: float, header: str
) -> None:
    error = kind("later", retry_after=seconds, headers={"X-A": "b"})
    assert error.headers == {"X-A": "b", "Retry-After": header}
    assert kind("later").headers == {"Retry-After": "1"}


def test_headers_of_one_error_are_not_anothers() -> None:
    first = Unprocessable("x")
    first.headers["X-A"] = "b"
    assert Unprocessable("y").headers == {}


def test_bundles_and_devices_fail_as_values_and_at_run_time() -> None:
    assert issubclass(BundleError, ValueError)
    assert issubclass(DeviceError, RuntimeError)
    assert not issubclass(BundleError, ServingError)
