"""Dashboard, alerts and the document name figures that there are, with labels that they have."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]
from prometheus_client.parser import text_string_to_metric_families

from http_api.conftest import Served, served
from oracle import make_oracle
from serving.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
DASHBOARD = json.loads((ROOT / "deploy/grafana/biject.json").read_text())
RULES = yaml.safe_load((ROOT / "deploy/prometheus/biject.rules.yml").read_text())["groups"]
QUERIES = [
    *(target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]),
    *(one["query"] for one in DASHBOARD["templating"]["list"] if one["type"] == "query"),
    *(rule["expr"] for group in RULES for rule in group["rules"]),
]
V = "/v1/models/default"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server that has been asked for everything, and has refused some of it."""
    folder = tmp_path_factory.mktemp("watched")
    make_oracle(folder, calibration={"l1": [i / 1000 for i in range(99)]})
    with served(Settings(models=folder, api_keys=("line:k",), max_body_bytes=100_000)) as running:
        key = {"X-API-Key": "k"}
        running.client.headers.update(key)
        images = running.client.post(f"{V}/sample?n=3").json()["images"]
        for verb in ("encode", "score", "reconstruct"):
            answer = running.client.post(f"{V}/{verb}", json={"images": images})
            assert answer.status_code == 200
        running.client.post(f"{V}/encode", content=bytes(200_000))
        running.client.get("/v1/models", headers={"X-API-Key": "wrong"})
        yield running


@pytest.fixture(scope="module")
def labels(server: Served) -> dict[str, set[str]]:
    """The labels of each sample that the server has figures of, by its name."""
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(server.client.get("/metrics").text):
        if family.name == "biject_engine_restarts":  # nothing has died
            found["biject_engine_restarts_total"] = {"model"}
        if family.name == "biject_padding_rows":  # nor is anything padded on a CPU
            found["biject_padding_rows_total"] = {"model", "graph"}
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


@pytest.mark.parametrize("query", QUERIES)
def test_every_query_names_figures_that_there_are(query: str, labels: dict[str, set[str]]) -> None:
    names = re.findall(r"\bbiject_\w+", query)
    assert names
    for name in names:
        assert name in labels, f"{name} is not in /metrics"
    known = set.union(*(labels[name] for name in names))
    grouped = [
        label for group in re.findall(r"\bby \(([^)]*)\)", query) for label in group.split(",")
    ]
    matched = re.findall(r"(\w+)\s*(?:=~|!=|!~|=)\s*\"", query)
    assert {label.strip() for label in (*grouped, *matched)} <= known


def test_panels_do_not_lie_on_each_other() -> None:
    places = [panel["gridPos"] for panel in DASHBOARD["panels"]]
    cells = [
        (x, y)
        for place in places
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(places)


def test_legends_name_labels_of_their_queries() -> None:
    for panel in DASHBOARD["panels"]:
        for target in panel["targets"]:
            named = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
            grouped = re.findall(r"\bby \(([^)]*)\)", target["expr"])
            assert not grouped or named <= {label.strip() for label in grouped[0].split(",")}


def test_the_document_lists_all_figures_with_their_labels(server: Served) -> None:
    text = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
    lines = text.partition("| name | labels |")[2].partition("\n\n")[0].splitlines()[2:]
    rows = [[cell.strip(" `") for cell in line.split("|")[1:-1]] for line in lines]
    documented = {row[0]: set(filter(None, re.split(r", ?", row[1]))) for row in rows}
    found: dict[str, Any] = {}
    for family in server.deployment.metrics._registry.collect():
        name = family.name + ("_total" if family.type == "counter" else "")
        found[name] = set().union(*(sample.labels for sample in family.samples)) - {"le"}
    assert documented.keys() == found.keys()
    for name, its in found.items():
        assert not its or documented[name] == its, name
    assert all(row[2] for row in rows)


def test_no_label_is_the_senders_to_choose(server: Served) -> None:
    before = len(server.client.get("/metrics").text.splitlines())
    for i in range(50):
        server.client.get(f"/v1/models/nobody-{i}")
        server.client.post(f"/v1/models/nobody-{i}/encode")
        server.client.get(f"/path-{i}", headers={"X-API-Key": f"k{i}", "X-Request-ID": f"r{i}"})
        server.client.request(f"M{i}", "/v1/models")
    text = server.client.get("/metrics").text
    assert "nobody" not in text
    assert len(text.splitlines()) - before < 10


def test_refusals_are_told_by_reason(server: Served) -> None:
    text = server.client.get("/metrics").text
    assert 'biject_rejections_total{reason="too_large"}' in text
    assert 'biject_rejections_total{reason="no_key"}' in text
    assert 'biject_key_images_total{key="line"}' in text
