"""Models, health, figures: what operators and load balancers ask for."""

import asyncio
import functools
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, NotRequired, cast

import orjson
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from typing_extensions import TypedDict  # pydantic wants this one below Python 3.12

from serving import scoring, telemetry
from serving.deployment import Deployment
from serving.errors import NotFound
from serving.model import Model
from serving.routes import bodies, page
from serving.routes.endpoints import route
from serving.routes.openapi import JSON, TEXT, About, Media, Operation
from serving.routes.parameter import parse
from serving.security import require_admin
from serving.verbs import VERBS
from serving.workers import Action

_INDEX: Final = """\
biject: images to latents and back.

GET  /v1/models                  the models here
GET  /v1/models/{{model}}          one of them; `default` is a model, too
POST /v1/models/{{model}}/{{verb}}   {verbs}
POST /v1/models/{{model}}/load, /unload   for administrators
GET  /livez  /readyz  /metrics   health and figures

curl --data-binary @image.png -H 'Content-Type: image/png' {base}v1/models/default/encode
"""


class ModelVersion(TypedDict):
    """One version of a model."""

    version: int
    state: str
    reason: NotRequired[str]  # why it failed, or is not loaded


class ModelSummary(TypedDict):
    """A model in OpenAI's four keys, and how it stands."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    name: str
    version: int
    state: str
    device: str | None
    reason: NotRequired[str]  # why it failed, or is not loaded


class ModelEntry(ModelSummary):
    """A model in the list."""

    versions: list[ModelVersion]


class ModelList(TypedDict):
    """The models here, in OpenAI's shape."""

    object: Literal["list"]
    data: list[ModelEntry]
    aliases: NotRequired[dict[str, str]]  # each with the NAME or NAME@VERSION it stands for


class Cut(TypedDict):
    """How frames were cut into tiles."""

    tile: int
    stride: int
    roi: NotRequired[Annotated[list[int] | str, About("x, y, width, height, or a mask's hash")]]


class Calibration(TypedDict):
    """What the scores of a model are judged by."""

    model: str
    source: str | None  # which images
    tiles: Annotated[Cut | None, About("how frames were cut that calibrated it, if they were")]
    counts: Annotated[dict[str, int], About("how many scores of each term there are")]
    quantiles: Annotated[
        dict[str, list[float]],
        About("of each term, evenly spaced and ascending; all scores where there are few"),
    ]


class Operations:
    """Those routes over one deployment."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment
        self._page = page.Page()

    def routes(self) -> list[Route]:
        """All with GET, but for those that change something."""
        return [
            route("/", self._index, "GET"),
            route("/v1/models", self._models, "GET"),
            route("/v1/models/{model}", self._model, "GET"),
            route("/v1/models/{model}/calibration", self._calibration, "GET"),
            route("/v1/models/{model}/load", functools.partial(self._order, "load"), "POST"),
            route("/v1/models/{model}/unload", functools.partial(self._order, "unload"), "POST"),
            route("/livez", self._alive, "GET"),
            route("/healthz", self._alive, "GET"),  # BentoML's name for it
            route("/readyz", self._ready, "GET"),
            route("/metrics", self._metrics, "GET"),
            *self._page.routes(),
        ]

    def operations(self) -> list[Operation]:
        text = {TEXT: Media({"type": "string"})}
        return [
            Operation(
                method="get",
                path="/v1/models",
                tag="models",
                summary="The models here.",
                answer={JSON: Media(ModelList)},
            ),
            Operation(
                method="get",
                path="/v1/models/{model}",
                tag="models",
                summary="One model: its manifest without calibration scores, and how it stands.",
                answer={JSON: Media(ModelSummary)},
                problems=(404,),
            ),
            Operation(
                method="get",
                path="/v1/models/{model}/calibration",
                tag="models",
                summary="The scores of normal images that a model judges others by, summed up.",
                answer={JSON: Media(Calibration)},
                problems=(404,),
            ),
            Operation(
                method="get",
                path="/",
                tag="server",
                summary="The page, for who asks for HTML; else a reminder of the paths.",
                answer={**text, "text/html": Media({"type": "string"})},
                others={304: "what `If-None-Match` names"},
                access="open",
            ),
            *self._page.operations(),
            _change(
                "load",
                "Look into the model folder again, and load a model in all workers.",
                "`NAME` is the newest version in the folder.  What is loaded already is loaded "
                "anew if its files have changed and are good.",
            ),
            _change(
                "unload",
                "Unload a model in all workers.",
                "`NAME` is the version that answers for it; the one before does so afterwards.  "
                "Requests at hand are finished first.",
            ),
            _probe("/livez", "Whether the process answers.", text),
            _probe("/healthz", "The same, under BentoML's name for it.", text),
            _probe("/readyz", "Whether all that can be served is warm, in all workers.", text),
            Operation(
                method="get",
                path="/metrics",
                tag="server",
                summary="Figures for Prometheus.",
                answer={TEXT: Media({"type": "string"})},
            ),
        ]

    async def _index(self, request: Request) -> Response:
        if page.is_wanted(request):
            return self._page.index(request)
        text = _INDEX.format(verbs=", ".join(VERBS), base=request.base_url)
        return PlainTextResponse(text, headers={"Vary": "Accept"})

    async def _models(self, request: Request) -> Response:
        registry = self._deployment.registry
        newest = {model.name: registry.get(model.name) for model in registry.models}
        data: list[ModelEntry] = [
            {
                **_summary(model),
                "versions": [_version(one) for one in registry.models if one.name == name],
            }
            for name, model in newest.items()
        ]
        listed: ModelList = {"object": "list", "data": data}
        if registry.aliases:
            listed["aliases"] = dict(registry.aliases)
        return _json(listed)

    async def _model(self, request: Request) -> Response:
        model = self._deployment.registry.get(request.path_params["model"])
        return _json(_described(model))

    async def _order(self, action: Action, request: Request) -> Response:
        """Load or unload in all workers; then how the model stands."""
        require_admin(request.headers, self._deployment.settings)
        parse((), bodies.query(request.scope["query_string"]))
        ref = request.path_params["model"]
        return _json(_summary(await self._deployment.order(action, ref, telemetry.current())))

    async def _calibration(self, request: Request) -> Response:
        """What the model's scores are judged by, as few numbers as a histogram wants."""
        model = self._deployment.registry.get(request.path_params["model"])
        manifest = (model.bundle or model.ready.bundle).manifest
        by_term = manifest.score.calibration
        if not by_term:
            raise NotFound(f"{manifest.name}@{manifest.version} was not calibrated")
        answer: Calibration = {
            "model": f"{manifest.name}@{manifest.version}",
            "source": manifest.score.extra["calibration"].get("source"),
            "counts": {term: len(scores) for term, scores in by_term.items()},
            "tiles": cast("Cut | None", manifest.score.tiles and dict(manifest.score.tiles)),
            "quantiles": {
                term: scoring.quantiles(scores).tolist() for term, scores in by_term.items()
            },
        }
        return _json(dict(answer))

    async def _alive(self, request: Request) -> Response:
        return PlainTextResponse("alive\n")

    async def _ready(self, request: Request) -> Response:
        self._deployment.check_ready()
        return PlainTextResponse("ready\n")

    async def _metrics(self, request: Request) -> Response:
        # Not on the threads for pixels: who watches wants to know most while those are busy.
        figures = await asyncio.to_thread(self._deployment.render_metrics)
        return Response(figures, media_type=telemetry.CONTENT_TYPE)


def _described(model: Model) -> dict[str, Any]:
    """Its manifest, where it could be read, and how it stands."""
    if model.bundle is None:
        return {**_summary(model)}
    document = model.bundle.manifest.to_dict()
    # Thousands of numbers that nobody reads; how many there are, and of what, stays.
    if "calibration" in document["score"]:
        calibration = document["score"]["calibration"]
        kept = {key: value for key, value in calibration.items() if key != "scores"}
        document["score"] = {**document["score"], "calibration": kept}
    return {**document, **_summary(model)}


def _change(action: Action, summary: str, description: str) -> Operation:
    return Operation(
        method="post",
        path=f"/v1/models/{{model}}/{action}",
        tag="models",
        summary=summary,
        description=description,
        answer={JSON: Media(ModelSummary)},
        problems=(404, 422, 504),
        access="admin",
    )


def _probe(path: str, summary: str, text: dict[str, Media]) -> Operation:
    return Operation(
        method="get", path=path, tag="server", summary=summary, answer=text, access="open"
    )


def _summary(model: Model) -> ModelSummary:
    """OpenAI's four keys, and how the model stands."""
    created = 0 if model.bundle is None else int(model.bundle.manifest.created)
    device = "" if model.loaded is None else model.loaded.engine.device
    summary: ModelSummary = {
        "id": model.name,
        "object": "model",
        "created": created,
        "owned_by": "biject",
        "name": model.name,
        "version": model.version,
        "state": model.state,
        "device": device or None,
    }
    if model.reason:
        summary["reason"] = model.reason
    return summary


def _version(model: Model) -> ModelVersion:
    version: ModelVersion = {"version": model.version, "state": model.state}
    if model.reason:
        version["reason"] = model.reason
    return version


def _json(document: Mapping[str, Any]) -> Response:
    return Response(orjson.dumps(document), media_type="application/json")
