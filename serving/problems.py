"""Errors as RFC 9457 wants them: application/problem+json."""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, Final

import orjson
from starlette.responses import Response

from serving.errors import ItemProblem, MethodNotAllowed, NotFound, ServingError

MEDIA_TYPE: Final = "application/problem+json"
_PHRASES: Final = {status.value: status.phrase for status in HTTPStatus}


def body(error: ServingError, request_id: str) -> bytes:
    """What is wrong, for a program: the status and, where there are several items, the guilty."""
    return _body(error.status, error.title, error.detail, request_id, error.items)


def response(error: ServingError, request_id: str) -> Response:
    """The answer that says so."""
    return Response(
        body(error, request_id),
        status_code=error.status,
        headers=error.headers,
        media_type=MEDIA_TYPE,
    )


def foreseen(status: int, *, method: str, path: str) -> ServingError | None:
    """Our error for one that a framework's router finds; None if it is no such one."""
    if status == HTTPStatus.NOT_FOUND:
        return NotFound(f"there is nothing at {path[:200]}")
    if status == HTTPStatus.METHOD_NOT_ALLOWED:
        return MethodNotAllowed(f"{method} is not a method of {path[:200]}")
    return None


def reworded(status: int, said: bytes, request_id: str) -> bytes:
    """A problem document for any other error that a framework worded in its own way."""
    title = _PHRASES.get(status, "Error")
    return _body(status, title, _said(said) or title, request_id, ())


def _body(
    status: int, title: str, detail: str, request_id: str, items: Sequence[ItemProblem]
) -> bytes:
    problem: dict[str, Any] = {
        "type": "about:blank",
        "title": title,
        "status": status,
        "detail": detail,
        "request_id": request_id,
    }
    if items:
        problem["errors"] = [{"index": item.index, "detail": item.detail} for item in items]
    return orjson.dumps(problem)


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
