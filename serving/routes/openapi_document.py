"""/openapi.json (OpenAPI 3.1), made of what all dialects say of their paths.

pydantic is imported when the document is asked for and no sooner: a server has other things to do
while it starts.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from serving import errors
from serving.routes.openapi import Json, Media, Operation
from serving.security import FREE_PATHS
from serving.settings import Settings

VERSION: Final = "3.1.0"
ALWAYS: Final = (400, 413, 500, 503)  # a bad header, an announced size, a defect, draining

_TITLES: Final[Mapping[int, str]] = MappingProxyType(
    {
        kind.status: kind.title
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, errors.ServingError)
    }
)
_WHEN: Final[Mapping[int, str]] = MappingProxyType(
    {
        400: "malformed, or a parameter that is unknown, given twice or of the wrong type",
        401: "no key, or a wrong one",
        403: "a good key that does not open this door",
        404: "no such model or version",
        406: "the formats in Accept cannot be made",
        408: "the body took longer than the deadline",
        413: "over a limit, which the detail names",
        415: "a kind of content that is not read here",
        422: "read, but no image, a wrong shape, or a value out of range",
        429: "the queue is full, or longer than the deadline; the key has used up its rate",
        500: "a defect; the server's log has the reason under the request id",
        503: "loading, failed to load, or shutting down",
        504: "not done before the deadline",
    }
)
_COME_BACK: Final = (429, 503)
_SCHEMES: Final[Mapping[str, Json]] = MappingProxyType(
    {
        "bearer": {"type": "http", "scheme": "bearer"},
        "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
    }
)
_PATH_PARAMETERS: Final[Mapping[str, Json]] = MappingProxyType(
    {
        "model": {
            "description": "`NAME` (its newest version), `NAME@VERSION`, or `default`.",
            "example": "default",
        },
    }
)


def document(operations: Sequence[Operation], settings: Settings, description: str) -> Json:
    """The whole of /openapi.json for these operations."""
    schemas, components = _schemas(operations)
    paths: dict[str, Json] = {}
    for operation in operations:
        item = paths.setdefault(_plain(operation.path), {})
        item[operation.method] = _operation(operation, settings, schemas)
    return {
        "openapi": VERSION,
        "info": {"title": "biject", "version": "1", "description": description},
        "servers": [{"url": "/"}],
        "tags": [{"name": name} for name in dict.fromkeys(one.tag for one in operations)],
        "paths": paths,
        "components": {
            "schemas": components,
            "headers": {
                "X-Request-ID": {
                    "description": "The caller's, where it sent a decent one.",
                    "required": True,
                    "schema": {"type": "string"},
                },
                "Server-Timing": {
                    "description": "`queue;dur=..., compute;dur=...` in milliseconds.",
                    "schema": {"type": "string"},
                },
                "Retry-After": {
                    "description": "Seconds after which to come back.",
                    "required": True,
                    "schema": {"type": "integer", "minimum": 1},
                },
            },
            "securitySchemes": dict(_SCHEMES),
        },
    }


def _operation(operation: Operation, settings: Settings, schemas: Mapping[int, Json]) -> Json:
    found: Json = {
        "operationId": operation.name or _name(operation),
        "tags": [operation.tag],
        "summary": operation.summary,
    }
    if operation.description:
        found["description"] = operation.description
    if parameters := [*_in_path(operation.path), *operation.parameters]:
        found["parameters"] = parameters
    if operation.body:
        found["requestBody"] = {
            "required": operation.body_required,
            "content": _content(operation.body, schemas),
        }
    found["responses"] = _responses(operation, settings, schemas)
    security = _security(operation, settings)
    if security:
        found["security"] = security
    return found


def _responses(operation: Operation, settings: Settings, schemas: Mapping[int, Json]) -> Json:
    headers: Json = {
        name: {"$ref": f"#/components/headers/{name}"} for name in ("X-Request-ID", "Server-Timing")
    }
    responses: Json = {
        "200": {
            "description": operation.summary,
            "headers": {**headers, **operation.answer_headers},
            "content": _content(operation.answer, schemas),
        }
    }
    for status, words in operation.others.items():
        responses[str(status)] = {"description": words, "headers": headers}
    refusals = {**dict.fromkeys(ALWAYS), **dict.fromkeys(operation.problems)}
    if _security(operation, settings) or operation.access == "admin":
        refusals |= dict.fromkeys((401, 403) if operation.access == "admin" else (401,))
    if settings.rate_limit is not None and operation.access != "open":
        refusals |= {} if operation.path in FREE_PATHS else {429: None}
    for status in sorted(refusals):
        again = {"Retry-After": {"$ref": "#/components/headers/Retry-After"}}
        responses[str(status)] = {
            "description": f"{_TITLES.get(status, 'Error')}: {_WHEN.get(status, 'see the detail')}",
            "headers": {**headers, **(again if status in _COME_BACK else {})},
            "content": _content(operation.problem, schemas),
        }
    return responses


def _security(operation: Operation, settings: Settings) -> list[Json]:
    """Any one of these opens the door; nothing where none is locked."""
    wanted = {"open": (), "key": settings.api_keys, "admin": settings.admin_keys}[operation.access]
    return [{name: []} for name in _SCHEMES] if wanted else []


def _content(bodies: Mapping[str, Media], schemas: Mapping[int, Json]) -> Json:
    return {
        media_type: {
            "schema": schemas[id(media.schema)],
            **({} if media.example is None else {"example": media.example}),
        }
        for media_type, media in bodies.items()
    }


def _schemas(operations: Sequence[Operation]) -> tuple[dict[int, Json], Json]:
    """The JSON schema of each `Media.schema`, by its id; and what several of them share."""
    from pydantic import TypeAdapter  # see the module
    from pydantic.json_schema import GenerateJsonSchema

    class Untitled(GenerateJsonSchema):
        """A field's title is its name with a capital letter: it says nothing."""

        def field_title_should_be_set(self, schema: Any) -> bool:
            return False

    found = {
        id(media.schema): media.schema
        for operation in operations
        for bodies in (operation.body, operation.answer, operation.problem)
        for media in bodies.values()
    }
    plain = {key: schema for key, schema in found.items() if isinstance(schema, dict)}
    typed = {key: TypeAdapter[Any](kind) for key, kind in found.items() if key not in plain}
    made, shared = TypeAdapter.json_schemas(
        [(key, "serialization", adapter) for key, adapter in typed.items()],
        ref_template="#/components/schemas/{model}",
        schema_generator=Untitled,
    )
    schemas = plain | {int(key): schema for (key, _), schema in made.items()}
    return schemas, dict(shared.get("$defs", {}))


def _in_path(path: str) -> Iterator[Json]:
    for name in re.findall(r"{(\w+)", path):
        about = _PATH_PARAMETERS.get(name, {})
        yield {
            "name": name,
            "in": "path",
            "required": True,
            "schema": {"type": "string"},
            **about,
        }


def _plain(path: str) -> str:
    """Without Starlette's converters: {name:path} is {name}."""
    return re.sub(r"{(\w+):\w+}", r"{\1}", path)


def _name(operation: Operation) -> str:
    words = re.findall(r"\w+", _plain(operation.path))
    return "_".join([operation.method, *words]) if words else f"{operation.method}_index"
