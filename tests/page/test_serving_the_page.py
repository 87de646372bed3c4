"""How the page is served: to browsers alone, from a fixed list of files, under a strict policy."""

import json
import re
from pathlib import Path

import httpx
import numpy as np
import pytest

from http_api.conftest import Served, served
from serving.routes.page import FOLDER
from serving.settings import BUNDLES, Settings

HTML = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}


@pytest.mark.parametrize("accept", ["*/*", "text/plain", "application/json"])
def test_only_who_asks_for_html_gets_it(server: Served, accept: str) -> None:
    plain = server.client.get("/", headers={"Accept": accept})
    assert plain.headers["content-type"].startswith("text/plain")
    assert "/v1/models" in plain.text
    page = server.client.get("/", headers=HTML)
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.text.startswith("<!doctype html>")
    assert plain.headers["vary"] == page.headers["vary"] == "Accept"


def test_nothing_may_come_from_elsewhere(server: Served) -> None:
    policy = server.client.get("/", headers=HTML).headers["content-security-policy"]
    allowed = dict(each.split(" ", 1) for each in policy.split("; "))
    assert allowed.pop("default-src") == "'none'"
    assert allowed.pop("img-src") == "'self' data: blob:"
    assert set(allowed.values()) == {"'self'", "'none'"}
    for file in FOLDER.iterdir():
        addresses = set(re.findall(r"https?://[^\s\"'`)]+", file.read_text(encoding="utf-8")))
        assert addresses <= {"http://www.w3.org/2000/svg"}, file  # a name, never fetched


def test_every_file_that_is_named_is_there_and_is_named(server: Served) -> None:
    wanted, seen = ["index.html"], {"index.html"}
    while wanted:
        text = (FOLDER / wanted.pop()).read_text(encoding="utf-8")
        named = re.findall(r'(?:href|src)="page/([^"]+)"|from "\./([^"]+)"', text)
        new = {one or other for one, other in named} - seen
        wanted += [name for name in new if name.endswith(".js")]
        seen |= new
    assert seen == {file.name for file in FOLDER.iterdir()}
    kinds = {
        ".js": "text/javascript",
        ".css": "text/css",
        ".svg": "image/svg",
        ".html": "text/html",
    }
    for name in seen:
        answer = server.client.get(f"/page/{name}")
        assert answer.content == (FOLDER / name).read_bytes()
        assert answer.headers["content-type"].startswith(kinds[Path(name).suffix])
        assert answer.headers["x-content-type-options"] == "nosniff"


def test_a_browser_that_has_it_is_told_so(server: Served) -> None:
    for path in ("/", "/page/main.js"):
        etag = server.client.get(path, headers=HTML).headers["etag"]
        for known in (etag, f'"other", W/{etag}'):
            again = server.client.get(path, headers={**HTML, "If-None-Match": known})
            assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", etag)
        assert server.client.get(path, headers={**HTML, "If-None-Match": '"x"'}).content
        head = server.client.head(path, headers=HTML)
        assert (head.status_code, head.content, head.headers["etag"]) == (200, b"", etag)


@pytest.mark.parametrize(
    "path", ["/page/", "/page/x.js", "/page/..", "/page/%2e%2e%2fapp.py", "/page/..%2f..%2fapp.py"]
)
def test_nothing_but_its_files_is_reachable(server: Served, path: str) -> None:
    answer = httpx.request("GET", httpx.URL(f"http://127.0.0.1:{server.port}").join(path))
    assert answer.status_code in (200, 404)
    assert answer.status_code == 404 or answer.text.startswith("biject")  # the client folded it
    assert server.client.post("/page/main.js").status_code == 405


def test_the_page_needs_no_key_but_the_api_does(shown_models: Path) -> None:
    with served(Settings(models=shown_models / "oracle" / "1", api_keys=("k",))) as running:
        assert running.client.get("/", headers=HTML).status_code == 200
        assert running.client.get("/page/main.js").status_code == 200
        assert running.client.get("/v1/models/oracle/calibration").status_code == 401


def test_the_calibration_of_a_model_in_few_numbers(server: Served) -> None:
    found = server.client.get("/v1/models/fashion/calibration").json()
    manifest = json.loads((BUNDLES / "fashion" / "1" / "manifest.json").read_text())
    scores = manifest["score"]["calibration"]["scores"]
    assert found["model"] == "fashion@1"
    assert found["source"] == manifest["score"]["calibration"]["source"]
    assert found["counts"] == {term: len(values) for term, values in scores.items()}
    for term, values in scores.items():
        quantiles = found["quantiles"][term]
        assert len(quantiles) == 1001
        assert (quantiles[0], quantiles[-1]) == (values[0], values[-1])
        for share in (0.1, 0.5, 0.95):
            assert quantiles[round(1000 * share)] == pytest.approx(
                np.quantile(values, share, method="nearest")
            )
    few = server.client.get("/v1/models/oracle@1/calibration").json()
    assert few["quantiles"] == {"l1": [i / 1000 for i in range(99)]}


def test_a_model_without_calibration_says_so(server: Served) -> None:
    answer = server.client.get("/v1/models/grey/calibration")
    assert (answer.status_code, "not calibrated" in answer.json()["detail"]) == (404, True)
