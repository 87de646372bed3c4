"""The page: what a browser finds at `/`, and the files it is made of, below `/page/`.

Plain files, read once.  Nothing comes from anywhere else, and the policy that goes with the page
holds the browser to that.
"""

import hashlib
from pathlib import Path
from types import MappingProxyType
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from serving.errors import NotFound
from serving.routes import caching
from serving.routes.endpoints import route
from serving.routes.openapi import Media, Operation

FOLDER: Final = Path(__file__).resolve().parents[1] / "page"
PREFIX: Final = "/page/"  # what is below it is no secret: a key can be entered there
_INDEX: Final = "index.html"
_TYPES: Final = MappingProxyType(
    {
        ".html": "text/html; charset=utf-8",
        ".css": "text/css; charset=utf-8",
        ".js": "text/javascript; charset=utf-8",
        ".svg": "image/svg+xml",
    }
)
_POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        "img-src 'self' data: blob:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
_HEADERS: Final = MappingProxyType(
    {
        "Cache-Control": "no-cache",  # keep it, and ask whether it is still the same
        "Content-Security-Policy": _POLICY,
        "Permissions-Policy": "camera=(self)",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
    }
)


class Page:
    """The files of the page, as they were when this was made."""

    def __init__(self) -> None:
        self._files = {
            path.name: (path.read_bytes(), _TYPES[path.suffix])
            for path in sorted(FOLDER.iterdir())
            if path.suffix in _TYPES
        }
        self._etags = {
            name: f'"{hashlib.sha256(content).hexdigest()[:24]}"'
            for name, (content, _) in self._files.items()
        }

    def routes(self) -> list[Route]:
        """Its files, by names that are known beforehand."""
        return [route(f"{PREFIX}{{name}}", self._file, "GET")]

    def operations(self) -> list[Operation]:
        kinds = sorted({kind.partition(";")[0] for _, kind in self._files.values()})
        return [
            Operation(
                method="get",
                path=f"{PREFIX}{{name}}",
                tag="server",
                summary="A file of the page.",
                answer={kind: Media({"type": "string"}) for kind in kinds},
                others={304: "what `If-None-Match` names"},
                problems=(404,),
                access="open",
            ),
        ]

    def index(self, request: Request) -> Response:
        """The page itself."""
        return self._answer(request, _INDEX, {"Vary": "Accept"})

    async def _file(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in self._files:
            raise NotFound(f"the page has no file {name[:80]!r}")
        return self._answer(request, name, {})

    def _answer(self, request: Request, name: str, more: dict[str, str]) -> Response:
        headers = {**_HEADERS, **more, "ETag": self._etags[name]}
        if caching.holds(request.headers.get("if-none-match", ""), self._etags[name]):
            return Response(status_code=304, headers=headers)
        content, media_type = self._files[name]
        return Response(content, media_type=media_type, headers=headers)


def is_wanted(request: Request) -> bool:
    """Whether who asks is a browser: it names HTML, which curl and other programs do not."""
    return "text/html" in request.headers.get("accept", "")
