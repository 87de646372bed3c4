"""/openapi.json against the router, and /docs."""

import re

import httpx
from starlette.routing import Route

from serving.app import routes
from serving.deployment import Deployment
from serving.settings import Settings


def test_every_route_is_described_and_nothing_else_is(client: httpx.Client) -> None:
    served = {
        (re.sub(r"{(\w+):\w+}", r"{\1}", route.path), method.lower())
        for route in routes(Deployment(Settings()))
        if isinstance(route, Route)
        for method in (route.methods or set()) - {"HEAD"}
    }
    answer = client.get("/openapi.json")
    assert answer.headers["content-type"] == "application/json"
    document = answer.json()
    described = {
        (path, method) for path, operations in document["paths"].items() for method in operations
    }
    assert described == served
    assert document["openapi"] == "3.1.0"
