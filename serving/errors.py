"""Everything that serving/ says no with.

ServingError            the answer to a request, with an HTTP status
├── BadRequest          400  malformed: no JSON, an unknown or doubled parameter
├── Unauthorised        401  no key, or a wrong one
├── Forbidden           403  a good key that does not open this door
├── NotFound            404  no such model, graph or path
├── MethodNotAllowed    405  the path is right, the verb is not
├── NotAcceptable       406  none of the formats asked for can be made
├── RequestTimeout      408  the body took longer to arrive than the deadline allows
├── TooLarge            413  over a limit, which the detail names
├── UnsupportedType     415  a kind of content this server does not read
├── Unprocessable       422  read, but no image, a wrong shape, or out of range
├── Busy                429  the queue is full; says when to come back
│   └── RateExceeded    429  this key has had its share for now
├── ComputeFailed       500  the engine failed on good input
├── NotReady            503  loading or draining; says when to come back
└── DeadlineExceeded    504  accepted, and not done in time
BundleError             a bundle cannot be opened  (also a ValueError)
DeviceError             the device asked for is not there  (also a RuntimeError)
InputError              an archive of images cannot be read  (also a ValueError)
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar, Final

NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class ItemProblem:
    """What is wrong with one item of a request that holds several."""

    index: int  # position in the request, from 0
    detail: str


class ServingError(Exception):
    """A request cannot be answered.

    `detail` is one sentence for the person who asked, with what was found and what is wanted.
    `items` names the guilty ones where a request holds several; `headers` go out with the answer.
    `parameter` is the field at fault, where a dialect asks for its name.
    """

    status: ClassVar[int] = 500
    title: ClassVar[str] = "Internal Server Error"
    parameter: str | None = None

    def __init__(
        self,
        detail: str,
        *,
        items: Sequence[ItemProblem] = (),
        headers: Mapping[str, str] = NO_HEADERS,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.items = tuple(items)
        self.headers = dict(headers)


class BadRequest(ServingError):
    status = 400
    title = "Bad Request"


class Unauthorised(ServingError):
    status = 401
    title = "Unauthorized"


class Forbidden(ServingError):
    status = 403
    title = "Forbidden"


class NotFound(ServingError):
    status = 404
    title = "Not Found"


class MethodNotAllowed(ServingError):
    status = 405
    title = "Method Not Allowed"


class NotAcceptable(ServingError):
    status = 406
    title = "Not Acceptable"


class RequestTimeout(ServingError):
    status = 408
    title = "Request Timeout"


class TooLarge(ServingError):
    status = 413
    title = "Content Too Large"


class UnsupportedType(ServingError):
    status = 415
    title = "Unsupported Media Type"


class Unprocessable(ServingError):
    status = 422
    title = "Unprocessable Content"


class ComputeFailed(ServingError):
    status = 500
    title = "Internal Server Error"


class DeadlineExceeded(ServingError):
    status = 504
    title = "Gateway Timeout"


class _ComeBack(ServingError):
    """A refusal that passes: it carries Retry-After, in whole seconds and at least 1."""

    def __init__(
        self,
        detail: str,
        *,
        retry_after: float = 1.0,  # seconds
        items: Sequence[ItemProblem] = (),
        headers: Mapping[str, str] = NO_HEADERS,
    ) -> None:
        self.retry_after = max(1, math.ceil(retry_after))
        super().__init__(
            detail, items=items, headers={**headers, "Retry-After": str(self.retry_after)}
        )


class Busy(_ComeBack):
    status = 429
    title = "Too Many Requests"


class RateExceeded(Busy):
    pass


class NotReady(_ComeBack):
    status = 503
    title = "Service Unavailable"


class BundleError(ValueError):
    """A bundle cannot be opened; the message is one sentence that names the file."""


class DeviceError(RuntimeError):
    """The device asked for is not there; the message says what was found instead."""


class InputError(ValueError):
    """An archive of images cannot be read; the message is one sentence that names it."""
