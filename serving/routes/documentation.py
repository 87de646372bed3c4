"""/openapi.json, and /docs, which shows it to people."""

import asyncio
import base64
import hashlib
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from serving.deployment import Deployment
from serving.routes.endpoints import route
from serving.routes.openapi import JSON, Media, Operation
from serving.routes.openapi_document import document

_HTML: Final = "text/html"
_PAGE: Final = Path(__file__).with_name("docs.html").read_text("utf-8")
_ABOUT: Final = "Images to latents and back, in batches: BiGAN and AEGAN networks over HTTP."


def _hashes(element: str) -> str:
    """What allows the inline code of the page in these elements, and none that is put there."""
    found = re.findall(rf"<{element}>(.*?)</{element}>", _PAGE, re.DOTALL)
    digests = (hashlib.sha256(code.encode()).digest() for code in found)
    return " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)


# Nothing from anywhere else, and nobody else's frame.
_POLICY: Final = (
    f"default-src 'none'; script-src {_hashes('script')}; style-src {_hashes('style')}; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class Documentation:
    """Those routes over what all dialects tell of themselves, when somebody asks."""

    def __init__(
        self, deployment: Deployment, described: Callable[[], Sequence[Operation]]
    ) -> None:
        self._deployment = deployment
        self._described = described
        self._document = b""  # made then, and kept once there are models to make examples for

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
        if self._document:
            return Response(self._document, media_type=JSON)
        operations = [*self._described(), *self.operations()]
        lasting = self._deployment.registry.unready() is None
        settings = self._deployment.settings
        made = orjson.dumps(await asyncio.to_thread(document, operations, settings, _ABOUT))
        if lasting:
            self._document = made
        return Response(made, media_type=JSON)

    async def _docs(self, request: Request) -> Response:
        return Response(_PAGE, media_type=_HTML, headers={"Content-Security-Policy": _POLICY})
