"""Errors as RFC 9457 wants them: application/problem+json."""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, Final

import orjson
from starlette.responses import Response

from serving.errors import ItemProblem, ServingError

MEDIA_TYPE: Final = "application/problem+json"
_PHRASES: Final = {status.value: status.phrase for status in HTTPStatus}


def document(error: ServingError, request_id: str) -> dict[str, Any]:
    """What is wrong, for a program: the status and, where there are several items, the guilty."""
    return _document(error.status, error.title, error.detail, request_id, error.items)


def response(error: ServingError, request_id: str) -> Response:
    """The answer that says so."""
    return Response(
        orjson.dumps(document(error, request_id)),
        status_code=error.status,
        headers=error.headers,
        media_type=MEDIA_TYPE,
    )


def reworded(status: int, body: bytes, request_id: str, *, method: str, path: str) -> bytes:
    """A problem document for an error that a framework worded in its own way."""
    title = _PHRASES.get(status, "Error")
    if status == HTTPStatus.NOT_FOUND:
        detail = f"there is nothing at {path[:200]}"
    elif status == HTTPStatus.METHOD_NOT_ALLOWED:
        detail = f"{method} is not a method of {path[:200]}"
    else:
        detail = _said(body) or title
    return orjson.dumps(_document(status, title, detail, request_id, ()))


def _document(
    status: int, title: str, detail: str, request_id: str, items: Sequence[ItemProblem]
) -> dict[str, Any]:
    problem: dict[str, Any] = {
        "type": "about:blank",
        "title": title,
        "status": status,
        "detail": detail,
        "request_id": request_id,
    }
    if items:
        problem["errors"] = [{"index": item.index, "detail": item.detail} for item in items]
    return problem


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
