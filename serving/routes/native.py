"""The native dialect: POST /v1/models/{model}/{verb}, and what BentoML's typed methods share."""

import functools
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from serving import problems, telemetry, verbs
from serving.attendance import attended
from serving.deployment import Deployment
from serving.errors import ServingError, Unprocessable
from serving.queueing import Answer, Array
from serving.registry import Model
from serving.routes import answers, bodies, intake, parameters
from serving.routes.bodies import Payload
from serving.routes.parameters import Given
from serving.telemetry import Trace

_SMALL: Final = 65_536  # bytes of body that are taken apart on the event loop itself


class BatchRunner:
    """Runs a model's graphs for one request through the model's batcher."""

    def __init__(self, model: Model, trace: Trace) -> None:
        self._manifest = model.manifest
        self._batcher = model.ready.batcher
        self._trace = trace

    async def run(self, graph: str, *inputs: Array) -> Answer:
        """The graph's outputs, merged with other requests' on the way."""
        verbs.check_graph(self._manifest, graph)
        if self._trace.caller is not None:
            self._trace.caller.pay(len(inputs[0]))
        answer = await self._batcher.submit(graph, inputs, self._trace.deadline)
        self._trace.queue_ms += answer.queue_ms
        self._trace.compute_ms += answer.compute_ms
        return answer


def route(path: str, answer: Callable[[Request], Awaitable[Response]], *methods: str) -> Route:
    """A route to `answer`, without what Starlette puts around a function.

    Errors are the outer middleware's to answer, and requests hold nothing that must be closed.
    """
    return Route(path, _Endpoint(answer), methods=methods)


class _Endpoint:
    def __init__(self, answer: Callable[[Request], Awaitable[Response]]) -> None:
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = await self._answer(Request(scope, receive))
        await response(scope, receive, send)


class Native:
    """The routes of this dialect over one deployment."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment

    def routes(self) -> list[Route]:
        """POST for each verb; GET as well for `sample`, so that an <img> can show it."""
        return [
            route(
                f"/v1/models/{{model}}/{verb}",
                functools.partial(self._answer, verb),
                *(("GET", "POST") if verb == "sample" else ("POST",)),
            )
            for verb in verbs.VERBS
        ]

    async def _answer(self, verb: str, request: Request) -> Response:
        trace = telemetry.current()
        model = self._model(request.path_params["model"], verb, trace)
        offered = answers.formats(verb, model.manifest)
        media_type = answers.negotiate(",".join(request.headers.getlist("accept")), offered)
        given = bodies.query(request.scope["query_string"])
        body = b"" if request.method == "GET" else await bodies.whole(request.receive)
        # What cannot be done in time is not decoded first: that is most of what a refusal costs.
        graph = verbs.first_graph(verb)
        verbs.check_graph(model.manifest, graph)
        model.ready.batcher.check(graph, 1, trace.deadline)
        async with attended(request.receive, trace.deadline):
            payload = await self._payload(verb, model, body, request.headers)
            values = self._values(verb, model, [*given, *payload.given])
            content = await self._perform(verb, model, payload, values, media_type, trace)
        return Response(content, media_type=media_type, headers={"Vary": "Accept"})

    async def answer_typed(
        self, verb: str, ref: str, items: Sequence[Any], given: Mapping[str, Any]
    ) -> Response:
        """The JSON answer to a call of a typed BentoML method; an error is an answer, too."""
        trace = telemetry.current()
        try:
            model = self._model(ref, verb, trace)
            wanted = intake.kind_wanted(verb, model.manifest)
            payload = Payload(files=items) if wanted == "images" else Payload(rows=items)
            values = self._values(
                verb, model, [Given(k, v, text=False) for k, v in given.items() if v is not None]
            )
            async with attended(None, trace.deadline):
                content = await self._perform(verb, model, payload, values, answers.JSON, trace)
        except ServingError as error:
            trace.error = error
            return problems.response(error, trace.request_id)
        return Response(content, media_type=answers.JSON)

    def _model(self, ref: str, verb: str, trace: Trace) -> Model:
        model = self._deployment.registry.get(ref)
        trace.model, trace.verb = model.name, verb
        return model

    async def _payload(
        self, verb: str, model: Model, body: bytes, headers: Mapping[str, str]
    ) -> Payload:
        wanted = intake.kind_wanted(verb, model.manifest)
        content_type = headers.get("content-type", "")
        limit = self._deployment.settings.max_images

        def read() -> Payload:
            return bodies.read(body, content_type, wanted, max_items=limit)

        return read() if len(body) <= _SMALL else await self._deployment.aside(read)

    def _values(self, verb: str, model: Model, given: Sequence[Given]) -> dict[str, Any]:
        """The verb's parameters, checked against the server's limits and the model's terms."""
        settings = self._deployment.settings
        values = parameters.parse(
            parameters.known(verb, max_images=settings.max_images, max_frames=settings.max_frames),
            given,
        )
        terms = model.manifest.score.terms
        if values.get("by") is not None and values["by"] not in terms:
            raise Unprocessable(f"by must be one of {', '.join(terms)}, got {values['by'][:60]!r}")
        return values

    async def _perform(
        self,
        verb: str,
        model: Model,
        payload: Payload,
        values: Mapping[str, Any],
        media_type: str,
        trace: Trace,
    ) -> bytes:
        """Decode, check, compute, encode: the body of the answer."""
        deployment, manifest = self._deployment, model.manifest
        wanted = intake.kind_wanted(verb, manifest)
        rows = await intake.arrays(deployment, manifest, payload, wanted) if wanted else None
        intake.check_number(verb, rows, values, max_frames=deployment.settings.max_frames)
        result = await verbs.call(verb, BatchRunner(model, trace), manifest, rows, values)
        if isinstance(result, verbs.Scored):
            deployment.metrics.judged(manifest.name, result.verdict)
        context = answers.Context(
            verb=verb, manifest=manifest, device=model.ready.engine.device, parameters=values
        )
        if answers.is_quick(result, media_type, context):
            return answers.render(result, media_type, context)
        return await deployment.aside(lambda: answers.render(result, media_type, context))
