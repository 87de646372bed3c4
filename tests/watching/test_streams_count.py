"""Figures of answers in lines and of partial ones, and what keys pay for them, over real HTTP."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from http_api.conftest import Served, served
from oracle import make_oracle
from poison import make_poisonous, poisoned
from serving.batching import Batcher
from serving.engine import Engine
from serving.errors import Busy
from serving.rendering import npy
from serving.routes.streaming import PIECE
from serving.settings import Settings

LINES = {"Accept": "application/x-ndjson"}
NPY = {"Content-Type": "application/x-npy"}
IMAGES = np.random.default_rng(4).integers(0, 256, (3 * PIECE + 5, 8, 8, 3), np.uint8)
CALIBRATION = {"l1": [i / 1000 for i in range(99)]}
Figures = dict[tuple[str, ...], float]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """oracle/1 and poison/1, both calibrated; oracle/2 has another latent size."""
    folder = tmp_path_factory.mktemp("counted")
    make_oracle(folder, calibration=CALIBRATION)
    make_oracle(folder, version=2, block=4)
    make_oracle(folder, name="wide", height=32, width=32)
    make_poisonous(folder)
    return folder


@pytest.fixture(scope="module")
def line(folder: Path) -> Iterator[Served]:
    with served(
        Settings(models=folder, api_keys=("line:k",), admin_keys=("root:r",), threads=1)
    ) as running:
        running.client.headers.update({"X-API-Key": "k"})
        yield running


def figures(client: httpx.Client) -> Figures:
    """All samples, by name and the values of its labels, those in the order of their names."""
    answer = client.get("/metrics")
    assert answer.status_code == 200
    return {
        (sample.name, *(sample.labels[key] for key in sorted(sample.labels))): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def grown(after: Figures, before: Figures, *name: str) -> float:
    return after.get(name, 0) - before.get(name, 0)


def test_versions_with_codes_of_other_sizes_have_figures_of_their_own(line: Served) -> None:
    for version in (1, 2, 1, 2):
        answer = line.client.post(
            f"/v1/models/oracle@{version}/encode", content=npy(IMAGES[:60]), headers=NPY
        )
        assert answer.status_code == 200
    found = figures(line.client)
    places = {name[1:] for name in found if name[0] == "biject_latent_spread"}
    assert {("oracle", "1"), ("oracle", "2")} <= places
    assert (
        found["biject_latent_shift", "oracle", "1"] != found["biject_latent_shift", "oracle", "2"]
    )
    assert line.deployment.registry.unready() is None

    root = {"X-API-Key": "r"}
    answer = line.client.post("/v1/models/oracle@2/unload", headers=root)
    assert answer.status_code == 200, answer.text
    found = figures(line.client)
    assert np.isnan(found["biject_latent_shift", "oracle", "2"])
    assert not np.isnan(found["biject_latent_shift", "oracle", "1"])
    assert ("oracle", 2) not in line.deployment.metrics._drifts
    line.client.post("/v1/models/oracle@2/load", headers=root)


def test_scores_in_lines_are_counted_as_those_at_once(line: Served) -> None:
    names = ("biject_scored_images_total", "biject_p_values_total", "biject_flagged_images_total")
    found = []
    for accept in ({}, LINES):
        before = figures(line.client)
        answer = line.client.post(
            "/v1/models/oracle@1/score?fpr=0.3", content=npy(IMAGES), headers={**NPY, **accept}
        )
        assert answer.status_code == 200
        after = figures(line.client)
        found.append([grown(after, before, name, "oracle") for name in names])
        assert grown(after, before, "biject_key_images_total", "line") == len(IMAGES)
        assert grown(after, before, "biject_requests_total", "oracle", "200", "score") == 1
    assert found[0][0] == len(IMAGES)
    assert found[1] == pytest.approx(found[0])


@pytest.mark.parametrize("accept", [{}, LINES])
def test_items_that_failed_are_neither_judged_nor_paid(
    folder: Path, tmp_path: Path, accept: dict[str, str]
) -> None:
    make_poisonous(tmp_path, calibration=CALIBRATION)
    images = poisoned(IMAGES[:5], 3)
    with served(Settings(models=tmp_path, api_keys=("line:k",))) as running:
        running.client.headers.update({"X-API-Key": "k"})
        answer = running.client.post(
            "/v1/models/poison/score",
            content=npy(images),
            headers={**NPY, **accept, "Prefer": "partial"},
        )
        assert answer.status_code == 200
        found = figures(running.client)
    assert found["biject_scored_images_total", "poison"] == 4
    assert found["biject_key_images_total", "line"] == 4  # nor are the others paid twice


def test_lines_that_end_in_a_problem_count_as_that(line: Served) -> None:
    before = figures(line.client)
    answer = line.client.post(
        "/v1/models/poison/encode",
        content=npy(poisoned(IMAGES, PIECE + 3)),
        headers={**NPY, **LINES},
    )
    assert answer.status_code == 200
    assert json.loads(answer.text.splitlines()[-1])["problem"]["status"] == 500
    after = figures(line.client)
    assert grown(after, before, "biject_requests_total", "poison", "500", "encode") == 1
    assert grown(after, before, "biject_requests_total", "poison", "200", "encode") == 0


def test_who_reads_nothing_is_cut_off_at_the_deadline(line: Served) -> None:
    before = figures(line.client)
    with socket.socket() as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.connect(("127.0.0.1", line.port))
        deaf.sendall(
            b"POST /v1/models/wide/sample?n=4000 HTTP/1.1\r\nHost: x\r\nX-API-Key: k\r\n"
            b"Accept: application/x-ndjson\r\nX-Deadline-Ms: 1500\r\nContent-Length: 0\r\n\r\n"
        )
        until(lambda: line.deployment._open == 1)
        until(lambda: line.deployment._open == 0, seconds=6)
        after = figures(line.client)
        assert grown(after, before, "biject_requests_total", "wide", "504", "sample") == 1
        assert grown(after, before, "biject_requests_total", "wide", "200", "sample") == 0
        deaf.settimeout(10)
        heard = b"".join(iter(lambda: deaf.recv(1 << 20), b""))
    assert heard.startswith(b"HTTP/1.1 200")
    assert not heard.endswith(b"0\r\n\r\n")  # half an answer does not look whole


def until(true: Callable[[], bool], *, seconds: float = 3) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_lines_that_take_too_long_end_with_the_deadline(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Engine.run

    def slow(engine: Engine, graph: str, inputs: Sequence[Any]) -> list[Any]:
        time.sleep(0.05)  # some thirty of these are 1.6 s
        return run(engine, graph, inputs)

    monkeypatch.setattr(Engine, "run", slow)
    with (
        served(Settings(models=folder, threads=1)) as running,
        running.client.stream(
            "POST", "/v1/models/wide/sample?n=4000", headers={**LINES, "X-Deadline-Ms": "600"}
        ) as answer,
    ):
        *_, last = answer.iter_lines()
    assert json.loads(last)["problem"]["status"] == 504


def test_lines_end_once_the_rate_is_used_up(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = np.concatenate([IMAGES, IMAGES])[: 5 * PIECE]
    held, off, run = threading.Event(), threading.Event(), Engine.run

    def braked(engine: Engine, graph: str, inputs: Sequence[Any]) -> list[Any]:
        if (
            inputs[0].shape[1:] == images.shape[1:]
            and (inputs[0] == images[2 * PIECE + 1]).all((1, 2, 3)).any()
        ):
            held.set()
            assert off.wait(20)
        return run(engine, graph, inputs)

    monkeypatch.setattr(Engine, "run", braked)
    settings = Settings(
        models=folder, api_keys=("line:k",), admin_keys=("root:r",), rate_limit=150, threads=2
    )
    answers: list[httpx.Response] = []
    with served(settings) as running:
        running.client.headers.update({"X-API-Key": "k"})

        def ask() -> None:
            answers.append(
                running.client.post(
                    "/v1/models/oracle@1/encode", content=npy(images), headers={**NPY, **LINES}
                )
            )

        asking = threading.Thread(target=ask)
        asking.start()
        assert held.wait(10)
        while running.client.post("/v1/models/oracle@1/sample?n=20").status_code == 200:
            pass  # the same key takes what is left
        off.set()
        asking.join()
        running.client.headers.update({"X-API-Key": "r"})  # which has no rate
        found = figures(running.client)
    *_, last = answers[0].text.splitlines()
    assert json.loads(last)["problem"]["status"] == 429
    assert "images a second" in json.loads(last)["problem"]["detail"]
    assert found["biject_requests_total", "oracle", "429", "encode"] == 1


def test_a_queue_without_room_costs_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refusals = iter(range(5))
    submit = Batcher.submit

    async def crowded(batcher: Batcher, *given: Any, **named: Any) -> Any:
        if len(given[1][0]) < PIECE and next(refusals, None) is not None:
            raise Busy("the queue is full")
        return await submit(batcher, *given, **named)

    monkeypatch.setattr(Batcher, "submit", crowded)
    with served(Settings(models=folder, api_keys=("line:k",))) as running:
        running.client.headers.update({"X-API-Key": "k"})
        answer = running.client.post(
            "/v1/models/oracle@1/encode", content=npy(IMAGES), headers={**NPY, **LINES}
        )
        assert json.loads(answer.text.splitlines()[-1])["usage"]["images"] == len(IMAGES)
        assert figures(running.client)["biject_key_images_total", "line"] == len(IMAGES)
