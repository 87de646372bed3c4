"""/openapi.json against the router and the server, and /docs."""

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from typing import Any

import httpx
import jsonschema_rs
import pytest
from starlette.routing import Route

from serving.app import routes
from serving.deployment import Deployment
from serving.routes import answers, openapi, verb_operations
from serving.routes.parameters import known
from serving.settings import Settings
from serving.verbs import VERBS

Document = dict[str, Any]


@pytest.fixture(scope="module")
def document(client: httpx.Client) -> Document:
    answer = client.get("/openapi.json")
    assert answer.headers["content-type"] == "application/json"
    found: Document = answer.json()
    return found


PICTURE = base64.b64decode(openapi.PIXEL.partition(",")[2])


def operations(document: Document) -> Iterator[tuple[str, str, Document]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def test_every_route_is_described_and_nothing_else_is(
    document: Document, request: pytest.FixtureRequest
) -> None:
    typed = verb_operations.typed(Settings())
    if request.node.callspec.params["client"] == "bare":
        typed = []
    served = {
        (re.sub(r"{(\w+):\w+}", r"{\1}", route.path), method.lower())
        for route in routes(Deployment(Settings()))
        if isinstance(route, Route)
        for method in (route.methods or set()) - {"HEAD"}
    } | {(one.path, one.method) for one in typed}
    assert {(path, method) for path, method, _ in operations(document)} == served
    assert document["openapi"] == "3.1.0"
    names = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(set(names)) == len(names)
    assert all(operation["summary"] for _, _, operation in operations(document))


def test_all_references_lead_somewhere(document: Document) -> None:
    for reference in re.findall(r'"\$ref": "#/([^"]*)"', json.dumps(document)):
        place: Any = document
        for step in reference.split("/"):
            place = place[step]


@pytest.mark.parametrize("verb", VERBS)
def test_what_is_documented_is_what_parses_and_answers(document: Document, verb: str) -> None:
    operation = document["paths"][f"/v1/models/{{model}}/{verb}"]["post"]
    parsed = {
        parameter.name: parameter.schema()
        for parameter in known(verb, max_images=4096, max_frames=256)
    }
    query = {one["name"]: one["schema"] for one in operation["parameters"] if one["in"] == "query"}
    assert query == parsed
    assert list(operation["responses"]["200"]["content"]) == list(answers.formats_of_images(verb))


def test_limits_are_the_servers_own(serve: Any) -> None:
    with serve(max_images=7, max_frames=9) as running:
        paths = running.client.get("/openapi.json").json()["paths"]
    maxima = {
        one["name"]: one["schema"].get("maximum")
        for verb in ("sample", "interpolate")
        for one in paths[f"/v1/models/{{model}}/{verb}"]["post"]["parameters"]
    }
    assert (maxima["n"], maxima["frames"]) == (7, 9)


def test_the_examples_work_and_fit_their_schemas(client: httpx.Client, document: Document) -> None:
    seen = set()
    for path, method, operation in operations(document):
        for media_type, media in operation.get("requestBody", {}).get("content", {}).items():
            if "example" not in media:
                continue
            wanted = {**media["schema"], "components": document["components"]}
            jsonschema_rs.validate(wanted, media["example"])
            model = "oracle" if path.startswith("/v2") else "default"
            url = path.replace("{model}", model).replace("{version}", "1")
            answer = client.request(method, url, **sent(media_type, media))
            assert answer.status_code == 200, answer.text
            schema = operation["responses"]["200"]["content"]["application/json"]["schema"]
            jsonschema_rs.validate({**schema, "components": document["components"]}, answer.json())
            seen.add(path.rpartition("/")[2])
    assert seen >= {*VERBS, "embeddings", "generations", "variations", "infer"}


def sent(media_type: str, media: Document) -> Document:
    """What httpx is to send of an example: a form's files are pictures."""
    if media_type == "application/json":
        return {"json": media["example"]}
    assert media_type == "multipart/form-data"
    kinds = {name: one.get("format") for name, one in media["schema"]["properties"].items()}
    files = {name: (name, PICTURE) for name in media["example"] if kinds[name] == "binary"}
    data = {name: str(value) for name, value in media["example"].items() if name not in files}
    return {"files": files, "data": data}


def test_the_deadline_is_described_wherever_something_is_computed(document: Document) -> None:
    for path, _, operation in operations(document):
        names = [one["name"] for one in operation.get("parameters", ())]
        assert ("X-Deadline-Ms" in names) == (
            "504" in operation["responses"] and not (path.endswith("load"))
        ), path


def test_a_rate_limit_is_documented_where_it_holds(serve: Any) -> None:
    with serve(api_keys=("k",), rate_limit=0.001) as running:
        locked = running.client.get("/openapi.json").json()
        limited = {path for path, _, one in operations(locked) if "429" in one["responses"]}
        key = {"X-API-Key": "k"}
        assert running.client.get("/v1/models", headers=key).status_code == 200
        for path, method, _ in operations(locked):
            if method == "get" and "{" not in path:
                status = running.client.get(path, headers=key).status_code
                assert status == (429 if path in limited else 200), path
        refused = running.client.get("/metrics", headers={"X-API-Key": "wrong"})
        assert refused.status_code == 401  # free of the rate, not of the key
    assert {"/v1/models", "/v2", "/v1/models/{model}/load"} <= limited
    assert not limited & {"/metrics", "/livez", "/"}


def test_a_key_is_documented_where_one_is_wanted(document: Document, serve: Any) -> None:
    assert all("security" not in operation for _, _, operation in operations(document))
    with serve(api_keys=("key",)) as running:
        locked = running.client.get("/openapi.json").json()
        assert running.client.get("/docs").status_code == 200
        for path, method, operation in operations(locked):
            if method == "get" and "{" not in path:
                wanted = 401 if "security" in operation else 200
                assert running.client.get(path).status_code == wanted, path
            # Those for administrators refuse everybody where there are none.
            refused = "security" in operation or "403" in operation["responses"]
            assert ("401" in operation["responses"]) == refused
    assert "security" in locked["paths"]["/v1/models/{model}/encode"]["post"]


def test_the_typed_methods_are_described_in_front_of_bentoml() -> None:
    described = verb_operations.typed(Settings())
    assert [one.path for one in described] == [
        *(f"/{verb}" for verb in VERBS),
        "/schema.json",
        "/docs.json",
    ]
    assert len(routes(Deployment(Settings()), others=described)) == len(
        routes(Deployment(Settings()))
    )


def test_the_page_needs_nothing_from_elsewhere(client: httpx.Client) -> None:
    answer = client.get("/docs")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert re.findall(r"https?://|src=|@import|url\(", answer.text) == []
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    for element in ("script", "style"):
        (code,) = re.findall(rf"<{element}>(.*?)</{element}>", answer.text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
        assert f"{element}-src 'sha256-{digest}'" in policy
