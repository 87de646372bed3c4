"""The service as BentoML runs it: `bentoml serve serving.service:Biject`.

Our app stands in front of BentoML's and answers for its own paths, health included, with every
input and output format.  The typed methods go the same way in JSON, so that BentoML's clients, its
schema and BentoCloud work.  Images travel as text in all of them: BentoML would fetch a URL that a
client sends in place of a file.
"""

import logging
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, Final

import bentoml
from bentoml.exceptions import BentoMLException
from pydantic import ValidationError
from starlette.responses import Response
from starlette.types import ASGIApp

from serving import garbage, head, logs, tracing, workers
from serving.app import in_front_of
from serving.attendance import ClientGone
from serving.deployment import Deployment
from serving.environment import checked_or_exit, warn_if_open
from serving.errors import ServingError
from serving.routes import typed, verb_operations
from serving.routes.native import Native
from serving.routes.parameters import FRAMES, STRENGTH, VARIATIONS
from serving.scoring import FPR

SETTINGS: Final = checked_or_exit()  # while BentoML imports this: not a traceback's business
DEPLOYMENT: Final = Deployment(SETTINGS, crew=workers.crew(SETTINGS.workers))
_NATIVE: Final = Native(DEPLOYMENT)
_OTHERS: Final = ("bentoml", "uvicorn.error")  # loggers in a worker, beside our own
Json = dict[str, Any]
Label = str | int  # of a class: its name, or its number


@bentoml.service(
    name="biject",
    workers=SETTINGS.workers,
    # These three cost more than the work does; the log of requests and the figures are our own.
    logging={"access": {"enabled": False}},
    metrics={"enabled": False},
    tracing={"excluded_urls": ".*"},
    # Deadlines and back pressure are ours, and BentoML's would cut in with words of their own: its
    # deadline comes after ours.  Not long after: it keeps a timer per request until then.
    traffic={"timeout": SETTINGS.deadline_ms / 1e3 + 10},
)
class Biject:
    """Images to latents and back.  `model` is NAME, NAME@VERSION or `default`; images are data
    URIs or base64, one string each; None stands for the default of a parameter."""

    @bentoml.on_startup
    async def start(self) -> None:
        logs.configure(SETTINGS, *_OTHERS)
        logging.getLogger("bentoml._internal.server.http_app").addFilter(_worth_a_traceback)
        # It words a line for each answer as long as there is any log that might want it.
        logging.getLogger("uvicorn.access").propagate = False
        garbage.collect_seldom()
        if DEPLOYMENT.start() == 0:
            warn_if_open(SETTINGS)
        await DEPLOYMENT.useful()

    @bentoml.on_shutdown
    async def stop(self) -> None:
        await DEPLOYMENT.stop()

    @bentoml.api
    async def encode(
        self,
        images: list[str],
        encoding_format: str | None = "float",
        label: Label | None = None,
        labels: list[Label] | None = None,
        model: str = "default",
    ) -> Json:
        """E(x): `latents`, one list per image, or base64 of little-endian float32."""
        told = {"label": label, "labels": labels}
        return await _answer("encode", model, images, encoding_format=encoding_format, **told)

    @bentoml.api
    async def decode(
        self,
        latents: list[list[float]],
        label: Label | None = None,
        labels: list[Label] | None = None,
        model: str = "default",
    ) -> Json:
        """G(z): `images` as PNG data URIs."""
        return await _answer("decode", model, latents, label=label, labels=labels)

    @bentoml.api
    async def reconstruct(
        self,
        images: list[str],
        refine: int | None = 0,
        label: Label | None = None,
        labels: list[Label] | None = None,
        model: str = "default",
    ) -> Json:
        """G(E(x)): `images`, their `latents`, and the mean difference `l1` of each."""
        told = {"label": label, "labels": labels}
        return await _answer("reconstruct", model, images, refine=refine, **told)

    @bentoml.api
    async def score(
        self,
        images: list[str],
        by: str | None = None,
        fpr: float | None = FPR,
        heatmap: str | None = "none",
        label: Label | None = None,
        labels: list[Label] | None = None,
        tile: int | None = None,
        stride: int | None = None,
        roi: str | None = None,
        model: str = "default",
    ) -> Json:
        """How abnormal each image is: `results`, `threshold`, `by`."""
        told = {"label": label, "labels": labels}
        cut = {"tile": tile, "stride": stride, "roi": roi}
        return await _answer("score", model, images, by=by, fpr=fpr, heatmap=heatmap, **told, **cut)

    @bentoml.api
    async def interpolate(
        self,
        images: list[str],
        frames: int | None = FRAMES,
        path: str | None = "slerp",
        exact: bool | None = False,
        label: Label | None = None,
        model: str = "default",
    ) -> Json:
        """A morph through the given images: the frames as `images`."""
        way = {"frames": frames, "path": path, "exact": exact}
        return await _answer("interpolate", model, images, **way, label=label)

    @bentoml.api
    async def sample(
        self,
        n: int | None = 1,
        seed: int | None = None,
        truncation: float | None = 1.0,
        label: Label | None = None,
        labels: list[Label] | None = None,
        model: str = "default",
    ) -> Json:
        """`images` drawn from the prior, and the `seed` that draws them again."""
        told = {"label": label, "labels": labels}
        return await _answer("sample", model, (), n=n, seed=seed, truncation=truncation, **told)

    @bentoml.api
    async def vary(
        self,
        images: list[str],
        n: int | None = VARIATIONS,
        strength: float | None = STRENGTH,
        seed: int | None = None,
        label: Label | None = None,
        model: str = "default",
    ) -> Json:
        """`images` near the given one, and the `seed` that makes them again."""
        near = {"n": n, "strength": strength, "seed": seed}
        return await _answer("vary", model, images, **near, label=label)


def _worth_a_traceback(record: logging.LogRecord) -> bool:
    """Whether BentoML's log should have this: strangers must not fill it with their mistakes."""
    error = record.exc_info[1] if record.exc_info else None
    if isinstance(error, BentoMLException):
        return error.error_code >= HTTPStatus.INTERNAL_SERVER_ERROR
    return not isinstance(error, ValidationError | ServingError | ClientGone)


def _front(app: ASGIApp) -> ASGIApp:
    """Our app, which BentoML's stands behind."""
    guarded = typed.guarded(app, Biject.apis)  # type: ignore[attr-defined]
    others = verb_operations.typed(SETTINGS)
    return tracing.traced(in_front_of(guarded, deployment=DEPLOYMENT, others=others), SETTINGS)


async def _answer(verb: str, model: str, items: Sequence[Any], **given: Any) -> Any:
    """A finished response, which BentoML passes on: errors keep their shape, JSON its speed."""
    response: Response = await _NATIVE.answer_typed(verb, model, items, given)
    return response


head.use_everywhere()
typed.close(Biject.apis)  # type: ignore[attr-defined]
Biject.add_asgi_middleware(_front)  # type: ignore[attr-defined]
