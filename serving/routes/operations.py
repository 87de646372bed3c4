"""Models, health, figures: what operators and load balancers ask for."""

import asyncio
import functools
from typing import Any, Final

import orjson
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from serving import telemetry
from serving.deployment import Deployment
from serving.model import Model
from serving.routes import bodies, parameters
from serving.routes.native import route
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


class Operations:
    """Those routes over one deployment."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment

    def routes(self) -> list[Route]:
        """All with GET, but for those that change something."""
        return [
            route("/", self._index, "GET"),
            route("/v1/models", self._models, "GET"),
            route("/v1/models/{model}", self._model, "GET"),
            route("/v1/models/{model}/load", functools.partial(self._order, "load"), "POST"),
            route("/v1/models/{model}/unload", functools.partial(self._order, "unload"), "POST"),
            route("/livez", self._alive, "GET"),
            route("/healthz", self._alive, "GET"),  # BentoML's name for it
            route("/readyz", self._ready, "GET"),
            route("/metrics", self._metrics, "GET"),
        ]

    async def _index(self, request: Request) -> Response:
        return PlainTextResponse(_INDEX.format(verbs=", ".join(VERBS), base=request.base_url))

    async def _models(self, request: Request) -> Response:
        registry = self._deployment.registry
        newest = {model.name: registry.get(model.name) for model in registry.models}
        data = [
            {
                **_summary(model),
                "versions": [
                    {"version": one.version, "state": one.state, **_reason(one)}
                    for one in registry.models
                    if one.name == name
                ],
            }
            for name, model in newest.items()
        ]
        # Only where there are any: OpenAI's clients know nothing of them.
        more = {"aliases": dict(registry.aliases)} if registry.aliases else {}
        return _json({"object": "list", "data": data, **more})

    async def _model(self, request: Request) -> Response:
        model = self._deployment.registry.get(request.path_params["model"])
        return _json(_described(model))

    async def _order(self, action: Action, request: Request) -> Response:
        """Load or unload in all workers; then how the model stands."""
        require_admin(request.headers, self._deployment.settings)
        parameters.parse((), bodies.query(request.scope["query_string"]))
        ref = request.path_params["model"]
        return _json(_summary(await self._deployment.order(action, ref, telemetry.current())))

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
        return _summary(model)
    document = model.bundle.manifest.to_dict()
    # Thousands of numbers that nobody reads; how many there are, and of what, stays.
    if "calibration" in document["score"]:
        calibration = document["score"]["calibration"]
        kept = {key: value for key, value in calibration.items() if key != "scores"}
        document["score"] = {**document["score"], "calibration": kept}
    return {**document, **_summary(model)}


def _summary(model: Model) -> dict[str, Any]:
    """OpenAI's four keys, and how the model stands."""
    created = 0 if model.bundle is None else int(model.bundle.manifest.created)
    device = "" if model.loaded is None else model.loaded.engine.device
    return {
        "id": model.name,
        "object": "model",
        "created": created,
        "owned_by": "biject",
        "name": model.name,
        "version": model.version,
        "state": model.state,
        "device": device or None,
        **_reason(model),
    }


def _reason(model: Model) -> dict[str, str]:
    return {"reason": model.reason} if model.reason else {}


def _json(document: dict[str, Any]) -> Response:
    return Response(orjson.dumps(document), media_type="application/json")
