"""What BentoML's typed methods refuse and BentoML would not: bodies and parameters of other kinds.

BentoML fails on forms with a defect of its own, reads whatever else comes as JSON, and drops what
it does not know, so that a misspelt `seed` draws something else at every call.  A key that stands
twice it takes to be the last.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final, NoReturn

from bentoml import IODescriptor
from pydantic import ConfigDict, ValidationError
from starlette.types import ASGIApp, Receive, Scope, Send

from serving import telemetry
from serving.errors import BadRequest, UnsupportedType
from serving.routes.decoding import check_keys
from serving.routes.openapi import JSON

Methods = Mapping[str, Any]  # BentoML's, by their names

_TYPE: Final = b"content-type"
_UNKNOWN: Final = "extra_forbidden"  # pydantic's name for it


def close(methods: Methods) -> None:
    """Have these methods refuse keys of the JSON that they do not know."""
    for method in methods.values():
        method.input_spec = _closed(method.input_spec)


def guarded(app: ASGIApp, methods: Methods) -> ASGIApp:
    """BentoML's app, before whose methods only JSON passes, and no query.

    Raises UnsupportedType, BadRequest, before any of the body is read.
    """
    known = {one.route: list(one.input_spec.model_fields) for one in methods.values()}

    async def guard(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "POST" and scope["path"] in known:
            _check(scope, known[scope["path"]])
        await app(scope, receive, send)

    return guard


def _check(scope: Scope, known: Iterable[str]) -> None:
    kind = next((value for name, value in scope["headers"] if name == _TYPE), JSON.encode())
    if kind.partition(b";")[0].strip().lower() != JSON.encode():
        raise UnsupportedType(f"{scope['path']} takes {JSON}, got {kind.decode('latin-1')[:80]!r}")
    if scope["query_string"]:
        raise BadRequest(f"{scope['path']} takes no query; known in its JSON: {', '.join(known)}")


def _closed(spec: type[IODescriptor]) -> type[IODescriptor]:
    """The same input, which names what it does not know."""

    class Input(spec):  # type: ignore[misc]
        model_config = ConfigDict(extra="forbid")

        @classmethod
        def model_validate_json(cls, *arguments: Any, **options: Any) -> Any:
            try:
                found = super().model_validate_json(*arguments, **options)
            except ValidationError as error:
                for one in error.errors(include_url=False, include_context=False):
                    if one["type"] == _UNKNOWN:
                        name, known = str(one["loc"][0])[:60], ", ".join(cls.model_fields)
                        _refuse(BadRequest(f"unknown parameter {name!r}; known: {known}"))
                raise
            _check_once(arguments[0], cls.model_fields)
            return found

    return Input


def _check_once(body: str | bytes, known: Iterable[str]) -> None:
    """Refuses a key that stands twice, where pydantic keeps the last."""
    data = body.encode() if isinstance(body, str) else bytes(body)
    try:
        check_keys(data, [name for name in known if b'"%b"' % name.encode() in data])
    except BadRequest as refusal:
        _refuse(refusal)


def _refuse(refusal: BadRequest) -> NoReturn:
    """Raises it; BentoML makes a defect of it, and the edge words it again."""
    telemetry.current().error = refusal
    raise refusal
