"""/openapi.json, and /docs, which shows it to people."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from serving.deployment import Deployment
from serving.routes.native import route
from serving.routes.openapi import JSON, Media, Operation, document

_HTML: Final = "text/html"
_PAGE: Final = Path(__file__).with_name("docs.html")
_ABOUT: Final = "Images to latents and back, in batches."


class Documentation:
    """Those routes over what all dialects tell of themselves."""

    def __init__(self, deployment: Deployment, operations: Sequence[Operation]) -> None:
        self._settings = deployment.settings
        self._operations = [*operations, *self.operations()]
        self._document = b""  # made when somebody asks

    def routes(self) -> list[Route]:
        """Both with GET."""
        return [
            route("/openapi.json", self._openapi, "GET"),
            route("/docs", self._docs, "GET"),
        ]

    def operations(self) -> list[Operation]:
        return [
            Operation(
                method="get",
                path="/openapi.json",
                tag="server",
                summary="This document.",
                answer={JSON: Media({"type": "object"})},
                access="open",
            ),
            Operation(
                method="get",
                path="/docs",
                tag="server",
                summary="This document for people.",
                answer={_HTML: Media({"type": "string"})},
                access="open",
            ),
        ]

    async def _openapi(self, request: Request) -> Response:
        if not self._document:
            self._document = await asyncio.to_thread(self._make)
        return Response(self._document, media_type=JSON)

    async def _docs(self, request: Request) -> Response:
        return Response(await asyncio.to_thread(_PAGE.read_bytes), media_type=_HTML)

    def _make(self) -> bytes:
        return orjson.dumps(document(self._operations, self._settings, _ABOUT))
