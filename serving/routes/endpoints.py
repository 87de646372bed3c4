"""Paths and what answers them."""

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send


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
