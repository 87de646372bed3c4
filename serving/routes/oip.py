"""The Open Inference Protocol, version 2, with Triton's extensions that its clients ask for.

A model there is a graph here: `NAME` is the bundle's `encode`, `NAME.GRAPH` any graph of it.
"""

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final, TypeVar

import msgspec
import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from serving import labels, telemetry, verbs
from serving.attendance import attended
from serving.bundle import GraphInfo, TensorInfo
from serving.deployment import Deployment
from serving.errors import BadRequest, NotReady
from serving.model import Model
from serving.queueing import Array
from serving.routes import bodies, codings, decoding, intake, oip_models, oip_operations, tensors
from serving.routes.batch_runner import BatchRunner
from serving.routes.bodies import SMALL, Payload
from serving.routes.endpoints import route
from serving.routes.oip_operations import LENGTH, STARTS, IndexRequest
from serving.routes.openapi import Operation
from serving.routes.tensors import Inference

T = TypeVar("T")
_INDEX: Final = msgspec.json.Decoder(IndexRequest)
_PLATFORM: Final = "onnxruntime_onnx"  # as Triton calls it, and its clients look for
_EXTENSIONS: Final = ("binary_tensor_data", "model_configuration", "model_repository", "statistics")
_MUCH: Final = 2**20  # bytes of tensors that are too many to look through on the event loop
_BARE: Final = "encode"  # the graph that a bundle's bare name means


class OpenInference:
    """Those routes over one deployment."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment

    def routes(self) -> list[Route]:
        """The server's, then each model's, with and without a version."""
        ours = [
            route("/v2", self._server, "GET"),
            route("/v2/health/live", self._alive, "GET"),
            route("/v2/health/ready", self._ready, "GET"),
            route("/v2/models/stats", self._all_stats, "GET"),
            route("/v2/repository/index", self._index, "GET", "POST"),
        ]
        of_a_model = (
            ("/infer", self._infer, "POST"),
            ("", self._metadata, "GET"),
            ("/ready", self._model_ready, "GET"),
            ("/config", self._config, "GET"),
            ("/stats", self._stats, "GET"),
        )
        return [
            *ours,
            *(
                route(start + end, answer, how)
                for start in STARTS
                for end, answer, how in of_a_model
            ),
        ]

    def operations(self) -> list[Operation]:
        """One for each route."""
        return oip_operations.of(self._deployment.settings)

    async def _server(self, request: Request) -> Response:
        return _json({"name": "biject", "version": _version(), "extensions": _EXTENSIONS})

    async def _alive(self, request: Request) -> Response:
        return _json({"live": True})

    async def _ready(self, request: Request) -> Response:
        self._deployment.check_ready()
        return _json({"live": True, "ready": True})  # the specification says one, clients read both

    async def _model_ready(self, request: Request) -> Response:
        name, model, _ = await self._asked(request, wake=False)
        # One that rests is ready: who asks this before it infers would wait for ever.
        if model.loaded is not None and (trouble := model.loaded.batcher.trouble()) is not None:
            raise NotReady(f"{model.ref}: {trouble}")
        return _json({"name": name, "ready": True})

    async def _metadata(self, request: Request) -> Response:
        name, model, graph = await self._asked(request)
        info = model.manifest.graphs[graph]
        versions = [
            str(one.version)
            for one in self._deployment.registry.models
            if one.name == model.name and one.answers
        ]
        return _json(
            {
                "name": name,
                "versions": versions,
                "platform": _PLATFORM,
                "inputs": [oip_models.described(tensor) for tensor in info.inputs],
                "outputs": [oip_models.described(tensor) for tensor in info.outputs],
            }
        )

    async def _config(self, request: Request) -> Response:
        """As Triton's model_config.proto has it: sizes there are without the batch axis."""
        name, model, graph = await self._asked(request)
        info, engine = model.manifest.graphs[graph], model.ready.engine
        kind = "KIND_GPU" if engine.device == "cuda" else "KIND_CPU"
        return _json(
            {
                "name": name,
                "platform": _PLATFORM,
                "backend": "onnxruntime",
                "version_policy": {"specific": {"versions": [model.version]}},
                "max_batch_size": self._deployment.settings.max_images,
                "input": [oip_models.configured(tensor) for tensor in info.inputs],
                "output": [oip_models.configured(tensor) for tensor in info.outputs],
                "instance_group": [{"name": name, "kind": kind, "count": engine.workers}],
                "dynamic_batching": {},
            }
        )

    async def _stats(self, request: Request) -> Response:
        name, model, graph = await self._asked(request, wake=False)
        return _json({"model_stats": [oip_models.statistics(name, model, graph)]})

    async def _all_stats(self, request: Request) -> Response:
        found = [
            oip_models.statistics(name, model, graph)
            for model in self._deployment.registry.models
            for name, graph in _names(model)
            if model.answers
        ]
        return _json({"model_stats": found})

    async def _index(self, request: Request) -> Response:
        body = await bodies.whole(request.receive)
        only_ready = bool(body) and decoding.decoded(body, _INDEX).get("ready", False)
        found = [
            {
                "name": name,
                "version": str(model.version),
                "state": "READY" if model.answers else "UNAVAILABLE",
                "reason": "" if model.loaded is not None else model.reason or model.state,
            }
            for model in self._deployment.registry.models
            for name, _ in _names(model)
            if model.answers or not only_ready
        ]
        return Response(orjson.dumps(found), media_type="application/json")

    async def _infer(self, request: Request) -> Response:
        trace = telemetry.current()
        name, model, graph = await self._asked(request)
        body = await bodies.whole(request.receive)
        # What cannot be done in time is not taken apart first.
        model.ready.batcher.check(graph, 1, trace.deadline)
        info = model.manifest.graphs[graph]
        async with attended(request.receive, trace.deadline):
            asked = await self._inference(body, request.headers, info)
        if asked.timeout is not None:
            trace.deadline = min(trace.deadline, trace.started + asked.timeout)
        async with attended(request.receive, trace.deadline):
            arrays = [await self._decoded(one, model) for one in asked.inputs]
            if model.manifest.classes and len(arrays) > 1:
                labels.check_range(model.manifest, arrays[1])
            answer = await BatchRunner(model, trace).run(graph, *arrays)
            trace.release()
            head = {"model_name": name, "model_version": str(model.version)}
            if asked.id is not None:
                head["id"] = asked.id
            coding = codings.wanted(",".join(request.headers.getlist("accept-encoding")))
            return await self._answer(head, info.outputs, answer.outputs, asked, coding)

    async def _inference(
        self, body: bytes, headers: Mapping[str, str], graph: GraphInfo
    ) -> Inference:
        settings, coding = self._deployment.settings, headers.get("content-encoding", "")
        if coding:
            packed = body
            body = await self._aside(
                True, lambda: codings.decoded(packed, coding, limit=settings.max_body_bytes)
            )
        length = _json_length(headers.get(LENGTH), len(body))
        return await self._aside(
            length > SMALL or len(body) > _MUCH,
            lambda: tensors.parse(body, length, graph, max_rows=settings.max_images),
        )

    async def _decoded(self, given: Array | list[bytes | object], model: Model) -> Array:
        if not isinstance(given, list):
            return given
        payload = Payload(files=given)
        return await intake.arrays(self._deployment, model.manifest, payload, "images")

    async def _answer(
        self,
        head: Mapping[str, Any],
        infos: Sequence[TensorInfo],
        arrays: Sequence[Array],
        asked: Inference,
        coding: str,
    ) -> Response:
        def rendered() -> tuple[bytes, int | None]:
            body, length = tensors.render(head, infos, arrays, asked.outputs)
            return codings.encoded(body, coding) if coding else body, length

        size = sum(arrays[one.index].nbytes for one in asked.outputs)
        plain = not coding and all(one.binary for one in asked.outputs)
        body, length = await self._aside(size > (_MUCH if plain else SMALL), rendered)
        headers = {"Content-Encoding": coding} if coding else {}
        if length is None:
            return Response(body, headers=headers, media_type="application/json")
        headers[LENGTH] = str(length)
        return Response(body, headers=headers, media_type="application/octet-stream")

    async def _aside(self, long: bool, work: Callable[[], T]) -> T:
        return await self._deployment.aside(work) if long else work()

    async def _asked(self, request: Request, *, wake: bool = True) -> tuple[str, Model, str]:
        """The name in the path, the model and the graph that it means.

        `wake` has a model loaded that was unloaded for want of room.  Raises NotFound, NotReady.
        """
        name = request.path_params["model"]
        version = request.path_params.get("version")
        bundle, _, graph = name.partition(".")
        graph = graph or _BARE
        ref = bundle if version is None else f"{bundle}@{version}"
        if wake:
            model = await self._deployment.model(ref, graph, telemetry.current())
        else:
            model = self._deployment.registry.get(ref)
        verbs.check_graph(oip_models.manifest(model), graph)
        return name, model, graph


def _names(model: Model) -> Iterable[tuple[str, str]]:
    """What a bundle is called here, and the graph that is meant; while it is unread, its name."""
    yield model.name, _BARE
    if model.answers:
        graphs = oip_models.manifest(model).graphs
        yield from ((f"{model.name}.{graph}", graph) for graph in graphs)


def _json_length(given: str | None, size: int) -> int:
    if given is None:
        return size
    if not given.isdecimal() or len(given) > 18 or int(given) > size:
        raise BadRequest(f"{LENGTH} is {given[:40]!r}, the body has {size} bytes")
    return int(given)


@functools.cache
def _version() -> str:
    try:
        return version("biject")
    except PackageNotFoundError:  # in a Bento serving/ lies alone
        return "unknown"


def _json(document: Mapping[str, Any]) -> Response:
    return Response(orjson.dumps(document), media_type="application/json")
