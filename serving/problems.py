"""Errors, each in the shape of the dialect that was asked.

RFC 9457's problems everywhere, but OpenAI's envelope and the Open Inference Protocol's one line on
the paths of those two, whoever finds the error: a route, the outer middleware or a framework.
"""

from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import orjson
from starlette.responses import Response

from serving.errors import ItemProblem, MethodNotAllowed, NotFound, ServingError

MEDIA_TYPE: Final = "application/problem+json"
_JSON: Final = "application/json"
_PHRASES: Final = {status.value: status.phrase for status in HTTPStatus}
# OpenAI says 400 to all that is wrong inside a request, and its clients have a class for that.
_OPENAI_STATUS: Final[Mapping[int, int]] = MappingProxyType({415: 400, 422: 400})
_OPENAI_TYPES: Final[Mapping[int, str]] = MappingProxyType(
    {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
)
_OPENAI_CODES: Final[Mapping[int, str]] = MappingProxyType(
    {401: "invalid_api_key", 413: "request_too_large", 429: "rate_limit_exceeded"}
)
_SERVER_ERROR: Final = 500


class Worded(NamedTuple):
    """An error as it goes out."""

    status: int
    media_type: str
    body: bytes


class _Wrong(NamedTuple):
    """What there is to say, whatever the shape."""

    status: int
    title: str
    detail: str
    request_id: str
    items: Sequence[ItemProblem] = ()
    parameter: str | None = None


def body(error: ServingError, request_id: str) -> bytes:
    """What is wrong, for a program: the status and, where there are several items, the guilty."""
    return _problem(_wrong(error, request_id)).body


def worded(error: ServingError, request_id: str, path: str = "") -> Worded:
    """The error in the shape that callers of `path` read."""
    return _shape(path)(_wrong(error, request_id))


def response(error: ServingError, request_id: str, path: str = "") -> Response:
    """The answer that says so, to a caller of `path`."""
    status, media_type, said = worded(error, request_id, path)
    return Response(said, status_code=status, headers=error.headers, media_type=media_type)


def foreseen(status: int, *, method: str, path: str) -> ServingError | None:
    """Our error for one that a framework's router finds; None if it is no such one."""
    if status == HTTPStatus.NOT_FOUND:
        return NotFound(f"there is nothing at {path[:200]}")
    if status == HTTPStatus.METHOD_NOT_ALLOWED:
        return MethodNotAllowed(f"{method} is not a method of {path[:200]}")
    return None


def reworded(status: int, said: bytes, request_id: str, path: str = "") -> Worded:
    """Any other error, which a framework worded in its own way, in the shape of `path`."""
    title = _PHRASES.get(status, "Error")
    return _shape(path)(_Wrong(status, title, _said(said) or title, request_id))


def _wrong(error: ServingError, request_id: str) -> _Wrong:
    return _Wrong(error.status, error.title, error.detail, request_id, error.items, error.parameter)


def _problem(wrong: _Wrong) -> Worded:
    document: dict[str, Any] = {
        "type": "about:blank",
        "title": wrong.title,
        "status": wrong.status,
        "detail": wrong.detail,
        "request_id": wrong.request_id,
    }
    if wrong.items:
        document["errors"] = [{"index": one.index, "detail": one.detail} for one in wrong.items]
    return Worded(wrong.status, MEDIA_TYPE, orjson.dumps(document))


def _openai(wrong: _Wrong) -> Worded:
    """{"error": {message, type, param, code}}, with the statuses that OpenAI's clients know."""
    unknown_model = wrong.status == HTTPStatus.NOT_FOUND and wrong.parameter == "model"
    document = {
        "error": {
            "message": wrong.detail,
            "type": _OPENAI_TYPES.get(
                wrong.status,
                "server_error" if wrong.status >= _SERVER_ERROR else "invalid_request_error",
            ),
            "param": wrong.parameter,
            "code": "model_not_found" if unknown_model else _OPENAI_CODES.get(wrong.status),
        }
    }
    status = _OPENAI_STATUS.get(wrong.status, wrong.status)
    return Worded(status, _JSON, orjson.dumps(document))


def _oip(wrong: _Wrong) -> Worded:
    """{"error": text}: clients of the Open Inference Protocol read nothing else."""
    return Worded(wrong.status, _JSON, orjson.dumps({"error": wrong.detail}))


def _shape(path: str) -> Callable[[_Wrong], Worded]:
    first, _, rest = path[1:].partition("/")
    if first == "v2":
        return _oip
    if first == "v1" and rest.partition("/")[0] in ("embeddings", "images"):
        return _openai
    return _problem


def _said(body: bytes) -> str:
    """The sentence in an error of BentoML, Starlette or pydantic: text, an object, or a list."""
    try:
        said: Any = orjson.loads(body)
    except orjson.JSONDecodeError:
        return body.decode("utf-8", "replace").strip()[:500]
    if isinstance(said, list) and said:
        said = said[0]
    if not isinstance(said, dict):
        return ""
    details = said.get("detail")
    if isinstance(details, list):
        return "; ".join(
            f"{'.'.join(str(part) for part in one.get('loc', ()))}: {one.get('msg', '')}"
            for one in details
            if isinstance(one, dict)
        )[:500]
    return str(said.get("error") or details or "")[:500]
