"""Whatever clients put where, and whatever breaks: no log, figure or trace has a key in it."""

import json
import logging
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest

from http_api.test_tracing import collected, has_exporter
from security.conftest import Serve
from server_process import Mode, running, until
from serving import logs, rendering, telemetry
from serving.settings import LogFormat, Settings

__all__ = ["collected"]  # a fixture

USER, ADMIN = "u9Qx7Lm2Zk4Tf8Rw", "a3Vn6Hc1Yb5Gd0Js"
SECRETS = (USER, ADMIN)
V = "/v1/models/oracle"
PNG = rendering.png(np.zeros((8, 8, 3), np.uint8))


def put_everywhere(port: int, key: str) -> None:
    """Show `key` in each place of a request that a client has in hand, good ones and bad ones."""
    json_type = {"Content-Type": "application/json"}
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers={"X-API-Key": key}) as client:
        for name in (
            *("Authorization", "X-API-Key", "X-Request-ID", "User-Agent", "Cookie", "Accept"),
            *("Content-Type", "X-Deadline-Ms", "Origin", "Referer", "Host", "traceparent"),
            *("X-Forwarded-For", "Content-Encoding", "Prefer", "If-None-Match", key),
        ):
            for value in (key, f"Bearer {key}", f"x{key}y"):
                client.post(f"{V}/sample", headers={name: value})
                client.post("/encode", headers={name: value}, json={"images": ["x"]})
        for path in (
            *(f"/{key}", f"/v1/{key}", f"/v1/models/{key}/encode", f"/v1/models/{key}@1/sample"),
            *(f"{V}/{key}", f"{V}/x{key}", f"/schema.json/{key}", f"/v2/models/{key}/infer"),
            *(f"{V}/sample?api_key={key}", f"{V}/sample?{key}=1", f"{V}/sample?seed={key}"),
            *(f"/livez?key={key}", f"/metrics?{key}", f"/readyz/{key}"),
        ):
            client.get(path)
            client.post(path)
            client.get(path, headers={"X-API-Key": "wrong"})
        for document in ({key: 1}, {"images": [key]}, {"images": key}, {"model": key}, key, [key]):
            client.post(f"{V}/encode", content=json.dumps(document), headers=json_type)
            client.post("/encode", content=json.dumps(document), headers=json_type)
        client.post(f"{V}/encode", content=f'{{"images": {key}', headers=json_type)
        for files in (
            {"images": (key, PNG)},
            {"images": ("x.png", key.encode())},
            {key: ("x.png", PNG)},
        ):
            client.post(f"{V}/encode", files=files, data={key: key})
        form = f"multipart/form-data; boundary={key}"
        client.post(f"{V}/encode", content=b"--" + key.encode(), headers={"Content-Type": form})
        client.post(f"{V}/encode", content=b"\x93NUMPY" + key.encode())
        client.post(f"{V}/decode", content=key.encode(), headers={"Content-Type": key})
    for first in (f"{key} / HTTP/1.1", f"GET / {key}", f"GET / HTTP/1.1\r\n{key}"):
        with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
            connection.sendall(f"{first}\r\n\r\n".encode())
            connection.recv(1_000)


@pytest.mark.skipif(not has_exporter(), reason="the extra `tracing` is not installed")
@pytest.mark.parametrize(("mode", "form"), [("bare", "json"), ("bentoml", "text")])
def test_no_log_figure_or_trace_has_a_key(
    mode: Mode, form: str, models: Path, tmp_path: Path, collected: list[bytes]
) -> None:
    arguments = ("--api-keys", f"line:{USER}", "--admin-keys", ADMIN, "--log", form)
    also = ("--access-log", "--tracing", "otlp")
    with running(mode, models, tmp_path / "log", *arguments, *also) as server:
        for key in SECRETS:
            put_everywhere(server.port, key)
        for path in ("/schema.json", "/docs.json", "/encode", "/metrics", "/v1/models"):
            assert httpx.get(server.url + path).status_code == 401  # BentoML's own paths as well
        figures = httpx.get(server.url + "/metrics", headers={"X-API-Key": USER}).text
        until(lambda: b"sample oracle" in b"".join(collected), 10)
    log, sent = server.log.read_text(), b"".join(collected)
    assert [line for line in log.splitlines() if any(key in line for key in SECRETS)] == []
    assert not any(key in figures for key in SECRETS)
    found = [sent[max(0, sent.find(key.encode()) - 80) :][:100] for key in SECRETS]
    assert [near for near, key in zip(found, SECRETS, strict=True) if key.encode() in sent] == []
    assert "[a key]" in log  # it did tell of these requests
    assert b"[a key]" in sent
    assert 'key="line"' in figures
    assert "Traceback" not in log
    assert "span" not in log


@pytest.fixture
def logged(capsys: pytest.CaptureFixture[str]) -> Iterator[pytest.CaptureFixture[str]]:
    """What is logged; the loggers are left as they were."""
    log = logging.getLogger("biject")
    before = log.handlers[:], log.level, log.propagate
    yield capsys
    log.handlers[:], log.level, log.propagate = before


@pytest.mark.parametrize("form", ["text", "json"])
def test_not_even_a_traceback_has(form: LogFormat, logged: pytest.CaptureFixture[str]) -> None:
    logs.configure(Settings(api_keys=(USER,), admin_keys=(ADMIN,), log=form))
    try:
        raise RuntimeError(f"a row of {USER}, and {ADMIN}")
    except RuntimeError:
        logging.getLogger("biject.http").exception("%s failed", USER)
    said = logged.readouterr().err
    assert not any(key in said for key in SECRETS)
    assert said.count("[a key]") >= 3
    assert "RuntimeError: a row of [a key], and [a key]" in said


def test_a_json_line_has_the_id_of_its_request(logged: pytest.CaptureFixture[str]) -> None:
    logs.configure(Settings(log="json"))
    telemetry.begin(telemetry.Trace(request_id="abc-1", deadline=0))
    logging.getLogger("biject.http").warning("two\nlines: %s", Path("x"))
    (line,) = logged.readouterr().err.splitlines()
    found = json.loads(line)
    assert (found["request_id"], found["message"]) == ("abc-1", "two\nlines: x")
    assert (found["level"], found["logger"]) == ("WARNING", "biject.http")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4}", found["time"])


def test_every_line_of_a_server_that_logs_json_is_json(models: Path, tmp_path: Path) -> None:
    arguments = ("--log", "json", "--access-log")
    with running("bare", models, tmp_path / "log", *arguments) as server:
        httpx.post(server.url + f"{V}/sample", headers={"X-Request-ID": "me-1"})
        httpx.get(server.url + "/%0aoops%22")
    lines = [line for line in server.log.read_text().splitlines() if not said_by_serve(line)]
    events = [json.loads(line) for line in lines]
    (sample,) = [event for event in events if event.get("request_id") == "me-1"]
    assert (sample["verb"], sample["status"], sample["model"]) == ("sample", 200, "oracle")


def said_by_serve(line: str) -> bool:
    """Whether `biject serve` said this to a person, before the server began."""
    return re.match("(device|model|url): ", line) is not None


def test_a_request_may_not_be_called_by_a_key(serve: Serve) -> None:
    with serve(api_keys=(USER,)) as running_here:
        for given, kept in ((USER, False), (f"a-{USER}", False), ("a-1", True)):
            answer = running_here.client.get("/livez", headers={"X-Request-ID": given})
            assert (answer.headers["x-request-id"] == given) == kept
