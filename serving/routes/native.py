"""The native dialect: POST /v1/models/{model}/{verb}, and what BentoML's typed methods share."""

import contextlib
import functools
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope

from serving import labels, problems, telemetry, verbs
from serving.attendance import attended
from serving.deployment import Deployment
from serving.errors import NotFound, NotReady, ServingError, Unprocessable
from serving.model import Model
from serving.queueing import Array
from serving.results import Runner, Scored
from serving.routes import (
    answers,
    bodies,
    caching,
    framing,
    intake,
    parameters,
    streaming,
    verb_operations,
)
from serving.routes.batch_runner import BatchRunner
from serving.routes.bodies import Payload
from serving.routes.documents import Context
from serving.routes.endpoints import route
from serving.routes.intake import Faults
from serving.routes.openapi import Operation
from serving.routes.parameter import Given, parse
from serving.routes.partial import PREFERENCE, Lenient, preferred
from serving.routes.streaming import Stream
from serving.telemetry import Trace
from serving.tiles import Frames

_WHOLE: Final = ("image/", "application/x-npy")  # types of bodies that are not taken apart
_IN_PARTS: Final = (answers.JSON, answers.NDJSON)  # formats with a place for what is wrong
_PLAIN: Final[Mapping[str, str]] = MappingProxyType({"Vary": "Accept"})
_PARTIAL: Final[Mapping[str, str]] = MappingProxyType(
    {"Vary": "Accept, Prefer", "Preference-Applied": PREFERENCE}
)


def _header(scope: Scope, wanted: bytes) -> str:
    """A header's value; of one given several times all, with commas."""
    given = [value for name, value in scope["headers"] if name == wanted]
    return b",".join(given).decode("latin-1")


class Native:
    """The routes of this dialect over one deployment."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment

    def routes(self) -> list[Route]:
        """POST for each verb; GET as well for `sample`, so that an <img> can show it."""
        return [
            route(
                f"/v1/models/{{model}}/{verb}",
                self._sample if verb == "sample" else functools.partial(self._answer, verb),
                *(("GET", "POST") if verb == "sample" else ("POST",)),
            )
            for verb in verbs.VERBS
        ]

    def operations(self) -> list[Operation]:
        """One for each route."""
        bundle = None
        with contextlib.suppress(NotFound, NotReady):  # then there is one example less
            bundle = self._deployment.registry.get("default").bundle
        size = None if bundle is None else bundle.manifest.latent.size
        return verb_operations.native(self._deployment.settings, latent=size)

    async def _answer(self, verb: str, request: Request) -> Response:
        """What POST is answered with."""
        trace, model, media_type, given = await self._begin(verb, request)
        body = await bodies.whole(request.receive)
        self._check_time(verb, model, trace)
        partial = media_type in _IN_PARTS and preferred(_header(request.scope, b"prefer"))
        async with attended(request.receive, trace.deadline):
            payload = await self._payload(
                verb, model, body, _header(request.scope, b"content-type")
            )
            values = self._values(verb, model, [*given, *payload.given])
            asked = _Asked(verb, model, trace, values, media_type, partial)
            headers = _PARTIAL if partial else _PLAIN
            if media_type == answers.NDJSON:
                return await self._stream(asked, payload, request.receive, headers)
            content = await self._perform(asked, payload)
        return Response(content, media_type=media_type, headers=headers)

    async def _sample(self, request: Request) -> Response:
        if request.method == "POST":
            return await self._answer("sample", request)
        return await self._show(request)

    async def _show(self, request: Request) -> Response:
        """What GET is answered with: a sample, which caches may keep if it has a seed."""
        trace, model, media_type, given = await self._begin("sample", request)
        values = self._values("sample", model, given)
        headers = dict(_PLAIN) | caching.headers(
            model,
            request.path_params["model"],
            values,
            media_type,
            private=bool(self._deployment.settings.api_keys),
        )
        known = _header(request.scope, b"if-none-match")
        if known and "ETag" in headers and caching.holds(known, headers["ETag"]):
            return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
        self._check_time("sample", model, trace)
        async with attended(request.receive, trace.deadline):
            asked = _Asked("sample", model, trace, values, media_type)
            if media_type == answers.NDJSON:
                return await self._stream(asked, Payload(), request.receive, headers)
            content = await self._perform(asked, Payload())
        return Response(content, media_type=media_type, headers=headers)

    async def answer_typed(
        self, verb: str, ref: str, items: Sequence[Any], given: Mapping[str, Any]
    ) -> Response:
        """The JSON answer to a call of a typed BentoML method; an error is an answer, too."""
        trace = telemetry.current()
        try:
            model = await self._deployment.model(ref, verb, trace)
            wanted = intake.kind_wanted(verb, model.manifest)
            payload = Payload(files=items) if wanted == "images" else Payload(rows=items)
            values = self._values(
                verb, model, [Given(k, v, text=False) for k, v in given.items() if v is not None]
            )
            async with attended(None, trace.deadline):
                asked = _Asked(verb, model, trace, values, answers.JSON)
                content = await self._perform(asked, payload)
        except ServingError as error:
            trace.error = error
            return problems.response(error, trace.request_id)
        return Response(content, media_type=answers.JSON)

    async def _begin(self, verb: str, request: Request) -> tuple[Trace, Model, str, list[Given]]:
        """What can be said before the body is there: model, format, query."""
        trace = telemetry.current()
        model = await self._deployment.model(request.path_params["model"], verb, trace)
        offered = answers.formats(verb, model.manifest)
        media_type = answers.negotiate(_header(request.scope, b"accept"), offered)
        return trace, model, media_type, bodies.query(request.scope["query_string"])

    def _check_time(self, verb: str, model: Model, trace: Trace) -> None:
        """Raises Busy for what cannot be done in time.

        It is not decoded first: that is most of what a refusal costs.
        """
        graph = verbs.first_graph(verb)
        verbs.check_graph(model.manifest, graph)
        model.ready.batcher.check(graph, 1, trace.deadline)

    async def _payload(self, verb: str, model: Model, body: bytes, content_type: str) -> Payload:
        wanted = intake.kind_wanted(verb, model.manifest)
        limit = self._deployment.settings.max_images

        def read() -> Payload:
            return bodies.read(body, content_type, wanted, max_items=limit)

        quick = len(body) <= bodies.SMALL or content_type.startswith(_WHOLE)
        return read() if quick else await self._deployment.aside(read)

    def _values(self, verb: str, model: Model, given: Sequence[Given]) -> Mapping[str, Any]:
        """The verb's parameters, checked against the server's limits and the model's terms."""
        settings = self._deployment.settings
        limits = {"max_images": settings.max_images, "max_frames": settings.max_frames}
        if not given:
            return parameters.defaults(verb, **limits)
        values = parse(parameters.known(verb, **limits), given)
        terms = model.manifest.score.terms
        if values.get("by") is not None and values["by"] not in terms:
            raise Unprocessable(f"by must be one of {', '.join(terms)}, got {values['by'][:60]!r}")
        return values | {"label": labels.numbered(model.manifest, values)}

    async def _perform(self, asked: "_Asked", payload: Payload) -> bytes:
        """Decode, check, compute, encode: the body of the answer."""
        rows, failed = await self._rows(asked, payload)
        runner: Runner = BatchRunner(asked.model, asked.trace)
        prepared = await verbs.prepare(asked.verb, runner, asked.model.manifest, rows, asked.values)
        if asked.partial:
            runner = Lenient(runner, asked.model.manifest, failed, _owners(rows))
        result = await verbs.complete(prepared, runner)
        asked.trace.release()  # turning it into text and sending that take no graph
        if isinstance(result, Scored):
            self._deployment.metrics.judged(asked.model.name, result.verdict, failed)
        media_type, context = asked.media_type, asked.context(payload, failed)
        if answers.is_quick(result, media_type, context):
            return answers.render(result, media_type, context)
        return await self._deployment.aside(lambda: answers.render(result, media_type, context))

    async def _stream(
        self, asked: "_Asked", payload: Payload, receive: Receive, headers: Mapping[str, str]
    ) -> Response:
        """The same piece by piece, of which the first is there before anything is answered."""
        rows, failed = await self._rows(asked, payload)
        manifest = asked.model.manifest
        strict = BatchRunner(asked.model, asked.trace)
        prepared = await verbs.prepare(asked.verb, strict, manifest, rows, asked.values)
        graph = asked.verb if asked.verb in verbs.ITEM_BY_ITEM else "decode"
        count = rows.count if isinstance(rows, Frames) else len(prepared.rows)
        asked.model.ready.batcher.check(graph, count, asked.trace.deadline)

        def runner(model: Model, bad: Faults, some: Array | Frames) -> Runner:
            strict = BatchRunner(model, asked.trace)
            return Lenient(strict, manifest, bad, _owners(some)) if asked.partial else strict

        context = asked.context(payload, failed)
        pieces = streaming.pieces(self._deployment, asked.model, prepared, runner, context)
        return Stream(await anext(pieces), pieces, receive, asked.trace, dict(headers))

    async def _rows(
        self, asked: "_Asked", payload: Payload
    ) -> tuple[Array | Frames | None, Faults]:
        """What the body holds, checked; and which items of it are no good, where that may be."""
        deployment, manifest, verb = self._deployment, asked.model.manifest, asked.verb
        wanted = intake.kind_wanted(verb, manifest)
        failed: Faults = {}
        noted = failed if asked.partial and verb in verbs.ITEM_BY_ITEM else None
        tiling = await framing.tiling(deployment, manifest, asked.values)
        if tiling is not None:
            return await framing.frames(deployment, manifest, payload, tiling, noted), failed
        rows = None
        if wanted:
            rows = await intake.arrays(deployment, manifest, payload, wanted, noted)
        intake.check_number(verb, rows, asked.values, max_frames=deployment.settings.max_frames)
        return rows, failed


def _owners(rows: Array | Frames | None) -> list[int] | None:
    """The item of each row that is computed, where that is not the row itself."""
    return rows.owners if isinstance(rows, Frames) else None


class _Asked(NamedTuple):
    """A request, understood."""

    verb: str
    model: Model
    trace: Trace
    values: Mapping[str, Any]
    media_type: str
    partial: bool = False  # items may fail alone

    def context(self, payload: Payload, failed: Faults) -> Context:
        return Context(
            verb=self.verb,
            manifest=self.model.manifest,
            device=self.model.ready.engine.device,
            parameters=self.values,
            ids=payload.ids if self.verb in verbs.ITEM_BY_ITEM else None,
            failed=failed,
        )
