"""The HTTP application: every route of ours, over one deployment.

`routes_app` is what BentoML mounts; `standalone` is the whole server for plain uvicorn.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.types import ASGIApp

from serving.deployment import Deployment
from serving.edge import Edge
from serving.routes.native import Native
from serving.routes.operations import Operations


def routes_app(deployment: Deployment) -> Starlette:
    """The routes, and the deployment's life: from the app's startup to its shutdown."""

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        deployment.start()
        try:
            yield
        finally:
            await deployment.stop()

    routes = [*Operations(deployment).routes(), *Native(deployment).routes()]
    return Starlette(routes=routes, lifespan=lifespan)


def standalone(deployment: Deployment) -> ASGIApp:
    """The same service without BentoML: its routes inside our outer middleware."""
    return Edge(routes_app(deployment), deployment=deployment)
