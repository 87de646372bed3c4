"""The HTTP application: every route of ours, over one deployment.

`standalone` is the whole server; `in_front_of` puts the same in front of another app, BentoML's,
which gets the requests to paths that are none of ours.  Either way a request of ours is routed
once, and by the same router.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.routing import BaseRoute, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from serving.deployment import Deployment
from serving.edge import Edge
from serving.routes.native import Native
from serving.routes.operations import Operations


def routes(deployment: Deployment) -> list[BaseRoute]:
    """Ours, those that are asked most first: they are tried in turn."""
    return [*Native(deployment).routes(), *Operations(deployment).routes()]


def standalone(deployment: Deployment) -> ASGIApp:
    """The service, which lives from the app's startup to its shutdown."""

    @asynccontextmanager
    async def lifespan(app: Router) -> AsyncIterator[None]:
        deployment.start()
        try:
            yield
        finally:
            await deployment.stop()

    return Edge(Router(routes(deployment), lifespan=lifespan), deployment=deployment)


def in_front_of(app: ASGIApp, *, deployment: Deployment) -> ASGIApp:
    """The service as a middleware of `app`, whose own startup and shutdown the deployment needs."""
    edge = Edge(Router(routes(deployment), default=app), deployment=deployment)

    async def front(scope: Scope, receive: Receive, send: Send) -> None:
        await (app if scope["type"] == "lifespan" else edge)(scope, receive, send)

    return front
