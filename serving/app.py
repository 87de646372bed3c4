"""The HTTP application: every route of ours, over one deployment.

`standalone` is the whole server; `in_front_of` puts the same in front of another app, BentoML's,
which gets the requests to paths that are none of ours.  Either way a request of ours is routed
once, and by the same router.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Protocol

from starlette.routing import BaseRoute, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from serving.deployment import Deployment
from serving.edge import Edge
from serving.routes.documentation import Documentation
from serving.routes.native import Native
from serving.routes.oip import OpenInference
from serving.routes.openai import OpenAI
from serving.routes.openapi import Operation
from serving.routes.operations import Operations


class Dialect(Protocol):
    """Routes, and what they are for."""

    def routes(self) -> Sequence[BaseRoute]: ...

    def operations(self) -> Sequence[Operation]: ...


def dialects(deployment: Deployment) -> list[Dialect]:
    """All there are, those that are asked most first: their routes are tried in turn."""
    kinds = Native, OpenInference, OpenAI, Operations
    return [kind(deployment) for kind in kinds]


def routes(deployment: Deployment, *, others: Sequence[Operation] = ()) -> list[BaseRoute]:
    """Ours; `others` are described among them, and answered by somebody else."""
    spoken = dialects(deployment)

    def described() -> list[Operation]:
        return [*(one for dialect in spoken for one in dialect.operations()), *others]

    documentation = Documentation(deployment, described)
    return [one for dialect in (*spoken, documentation) for one in dialect.routes()]


def standalone(deployment: Deployment) -> ASGIApp:
    """The service, which lives from the app's startup to its shutdown."""

    @asynccontextmanager
    async def lifespan(app: Router) -> AsyncIterator[None]:
        deployment.start()
        await deployment.useful()
        try:
            yield
        finally:
            await deployment.stop()

    return Edge(Router(routes(deployment), lifespan=lifespan), deployment=deployment)


def in_front_of(
    app: ASGIApp, *, deployment: Deployment, others: Sequence[Operation] = ()
) -> ASGIApp:
    """The service as a middleware of `app`, whose own startup and shutdown the deployment needs.

    `others` describe paths of that app.
    """
    edge = Edge(Router(routes(deployment, others=others), default=app), deployment=deployment)

    async def front(scope: Scope, receive: Receive, send: Send) -> None:
        await (app if scope["type"] == "lifespan" else edge)(scope, receive, send)

    return front
