"""OpenAI's dialect: embeddings are `encode`, generations are `sample`, variations are `vary`.

https://platform.openai.com/docs/api-reference, as far as it has a meaning for images and latents;
what has none is refused, or ignored where clients cannot help but send it.
"""

import base64
import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar, cast

import numpy as np
import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from serving import labels, rendering, telemetry, verbs
from serving.attendance import attended
from serving.deployment import Deployment
from serving.errors import BadRequest, ServingError, Unprocessable, UnsupportedType
from serving.model import Model
from serving.results import Array, Made, Runner
from serving.routes import bodies, intake, openai_fields, openai_operations
from serving.routes.batch_runner import BatchRunner
from serving.routes.bodies import SMALL, Payload
from serving.routes.decoding import MAX_FIELDS, json_object
from serving.routes.documents import base64_rows
from serving.routes.endpoints import route
from serving.routes.items import Wanted
from serving.routes.openai_operations import IGNORED
from serving.routes.openapi import Operation
from serving.telemetry import Trace

T = TypeVar("T")


class OpenAI:
    """Those routes over one deployment."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment

    def routes(self) -> list[Route]:
        """All with POST; `/v1/models` is among the operations."""
        return [
            route("/v1/embeddings", self._embeddings, "POST"),
            route("/v1/images/generations", self._generations, "POST"),
            route("/v1/images/variations", self._variations, "POST"),
        ]

    def operations(self) -> list[Operation]:
        """One for each route."""
        return openai_operations.of(self._deployment.settings)

    async def _embeddings(self, request: Request) -> Response:
        body = await bodies.whole(request.receive)
        trace = telemetry.current()
        async with attended(request.receive, trace.deadline):
            fields = await self._fields(body, request)
            items = _wanted("input", fields)
            if "dimensions" in fields:
                raise _at_fault(
                    "dimensions",
                    BadRequest("the codes of a model have the size they have; omit `dimensions`"),
                )
            model = await self._model(_wanted("model", fields), "encode")
            values, ignored = self._parameters("encode", fields)
            with _naming("input"):
                manifest = model.manifest
                payload = _payload(items, vectors=manifest.image is None)
                wanted: Wanted = "images" if manifest.image is not None else "vectors"
                rows = await intake.arrays(self._deployment, manifest, payload, wanted)
            result = await verbs.encode(_runner(model, trace, values), rows)
        trace.release()
        coded = values["encoding_format"] == "base64"
        data = await self._aside_if_large(
            result.latents.nbytes, lambda: _embeddings(result.latents, coded)
        )
        document = {
            "object": "list",
            "data": orjson.Fragment(data),
            "model": model.ref,
            # There are no tokens here; who adds them up gets the number of images.
            "usage": {"prompt_tokens": len(rows), "total_tokens": len(rows)},
        }
        return _answer(document, ignored)

    async def _generations(self, request: Request) -> Response:
        body = await bodies.whole(request.receive)
        trace = telemetry.current()
        async with attended(request.receive, trace.deadline):
            fields = await self._fields(body, request)
            prompt = _wanted("prompt", fields)
            model = await self._model(fields.pop("model", "default"), "sample")
            size = _size(model, fields)
            values, ignored = self._parameters("sample", {"prompt": prompt, **fields})
            made = await _made("sample", model, trace, None, values)
            return await self._images(model, made, size, ignored)

    async def _variations(self, request: Request) -> Response:
        body = await bodies.whole(request.receive)
        trace = telemetry.current()
        async with attended(request.receive, trace.deadline):
            content_type = request.headers.get("content-type", "")
            files, fields = await self._aside_if_large(len(body), lambda: _form(body, content_type))
            if len(files) != 1:
                raise _at_fault("image", BadRequest(f"send one file `image`, got {len(files)}"))
            model = await self._model(fields.pop("model", "default"), "vary")
            size = _size(model, fields)
            values, ignored = self._parameters("vary", fields, text=True)
            with _naming("image"):
                payload = Payload(files=files)
                rows = await intake.arrays(self._deployment, model.manifest, payload, "images")
            made = await _made("vary", model, trace, rows, values)
            return await self._images(model, made, size, ignored)

    async def _fields(self, body: bytes, request: Request) -> dict[str, Any]:
        """The JSON fields of a request, without those that are null: they say nothing."""
        media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media_type != "application/json":
            raise UnsupportedType(
                f"Content-Type {media_type or 'missing'}; this reads application/json"
            )
        document = await self._aside_if_large(len(body), lambda: json_object(body))
        return {name: value for name, value in document.items() if value is not None}

    async def _aside_if_large(self, size: int, work: Callable[[], T]) -> T:
        return work() if size <= SMALL else await self._deployment.aside(work)

    async def _model(self, ref: object, verb: str) -> Model:
        """The model, ready for `verb`; refused at once where the queue would take too long."""
        trace = telemetry.current()
        with _naming("model"):
            name = openai_fields.MODEL.parse(ref, text=False)
            model = await self._deployment.model(name, verb, trace)
        graph = verbs.first_graph(verb)
        verbs.check_graph(model.manifest, graph)
        model.ready.batcher.check(graph, 1, trace.deadline)
        return model

    def _parameters(
        self, verb: str, fields: Mapping[str, Any], *, text: bool = False
    ) -> tuple[dict[str, Any], list[str]]:
        """The verb's own parameters, and the names of fields that make no difference."""
        return openai_fields.of(verb, self._deployment.settings.max_images).read(fields, text=text)

    async def _images(
        self, model: Model, made: Made, size: str, ignored: Sequence[str]
    ) -> Response:
        telemetry.current().release()

        def coded() -> list[dict[str, str]]:
            files = (rendering.png(image) for image in made.items)
            return [{"b64_json": base64.b64encode(file).decode("ascii")} for file in files]

        document = {
            "created": int(time.time()),
            "data": await self._deployment.aside(coded),
            "size": size,
            "output_format": "png",
            "model": model.ref,
            "seed": made.seed,
        }
        return _answer(document, ignored)


def _runner(model: Model, trace: Trace, values: dict[str, Any]) -> Runner:
    """What runs the model, told the label, which is taken out of the parameters."""
    with _naming("label"):
        label = labels.numbered(model.manifest, {"label": values.pop("label")})
    return labels.telling(BatchRunner(model, trace), label)


async def _made(
    verb: str, model: Model, trace: Trace, rows: Array | None, values: dict[str, Any]
) -> Made:
    """What a verb that makes images makes."""
    runner = _runner(model, trace, values)
    return cast(Made, await verbs.call(verb, runner, model.manifest, rows, values))


def _embeddings(latents: Array, coded: bool) -> bytes:
    """The list of embeddings as JSON: numbers, or base64 of little-endian float32."""
    rows = base64_rows(latents) if coded else np.ascontiguousarray(latents)
    data = [{"object": "embedding", "index": i, "embedding": row} for i, row in enumerate(rows)]
    return orjson.dumps(data, option=orjson.OPT_SERIALIZE_NUMPY)


def _answer(document: Mapping[str, Any], ignored: Sequence[str]) -> Response:
    headers = {IGNORED: ", ".join(ignored)} if ignored else {}
    return Response(orjson.dumps(document), headers=headers, media_type="application/json")


def _payload(items: Any, *, vectors: bool) -> Payload:
    """What `input` holds: one or a list, of data URIs or of vectors."""
    if vectors:
        one = isinstance(items, list) and bool(items) and not isinstance(items[0], list)
        return Payload(rows=[items] if one else items)
    if isinstance(items, str):
        items = [items]
    if not isinstance(items, list):
        raise BadRequest("input must be an image as a data URI or base64, or a list of them")
    return Payload(files=items)


def _form(body: bytes, content_type: str) -> tuple[list[bytes], dict[str, Any]]:
    """The files called `image` and the other fields of a form."""
    if content_type.partition(";")[0].strip().lower() != "multipart/form-data":
        raise UnsupportedType("this reads multipart/form-data")
    files: list[bytes] = []
    fields: dict[str, Any] = {}
    for name, data, is_file in bodies.form_parts(body, content_type, max_parts=MAX_FIELDS):
        if name == "image":
            files.append(data)
        elif is_file:
            raise _at_fault(name, BadRequest(f"a file in the field {name[:60]!r}; send `image`"))
        elif name in fields:
            raise _at_fault(name, BadRequest(f"{name[:60]} is given twice"))
        else:
            fields[name] = data.decode("utf-8", "replace")
    return files, fields


def _wanted(name: str, fields: dict[str, Any]) -> Any:
    """The value of a field that must be there, taken out."""
    if name not in fields:
        raise _at_fault(name, BadRequest(f"`{name}` is missing"))
    return fields.pop(name)


def _size(model: Model, fields: dict[str, Any]) -> str:
    """WIDTHxHEIGHT of the model's images, which is all that `size` may say, taken out."""
    spec = model.manifest.image
    if spec is None:
        raise _at_fault("model", BadRequest(f"{model.ref} makes vectors, not images"))
    own = f"{spec.width}x{spec.height}"
    with _naming("size"):
        size = openai_fields.SIZE.parse(fields.pop("size", "auto"), text=False)
    if size not in ("auto", own):
        raise _at_fault("size", Unprocessable(f"{model.ref} makes images of {own}, or size auto"))
    return own


@contextlib.contextmanager
def _naming(name: str) -> Iterator[None]:
    """Say which field it is that an error inside is about."""
    try:
        yield
    except ServingError as error:
        error.parameter = name
        raise


def _at_fault(name: str, error: ServingError) -> ServingError:
    error.parameter = name
    return error
