"""Damaged requests to a server: no 5xx, no connection lost, and afterwards it is as it was."""

import contextlib
import functools
import random
import socket
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import pytest

from fuzz.damage import mangled
from fuzz.test_parsers import PNG, forms, npy_files, requests_of_json
from http_api.conftest import served
from oracle import make_oracle
from serving.settings import Settings
from serving.verbs import VERBS

V = "/v1/models/oracle"
REFUSALS = {400, 404, 405, 406, 413, 415, 422}
RUNS = [
    pytest.param(400, id="short"),
    pytest.param(8_000, id="full", marks=[pytest.mark.slow, pytest.mark.timeout(600)]),
]


@pytest.mark.parametrize("requests", RUNS)
def test_damaged_requests_are_answered_or_refused(
    requests: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("mangled")
    make_oracle(folder, calibration={"l1": [i / 1000 for i in range(99)]})
    chance = random.Random(requests)
    said = "multipart/form-data; boundary=b"
    bodies = [
        *((said, body, "encode") for body in forms()),
        *(("application/x-npy", body, "score") for body in npy_files()),
        *(
            ("application/json", body, verb)
            for verb, them in requests_of_json().items()
            for body in them
        ),
        ("image/png", PNG, "reconstruct"),
    ]
    statuses: Counter[int] = Counter()
    with served(Settings(models=folder, max_images=64, max_frames=64)) as running:
        before = running.client.post(f"{V}/encode", content=PNG)
        for _ in range(requests):
            content_type, body, verb = chance.choice(bodies)
            verb = verb if chance.random() < 0.9 else chance.choice(VERBS)
            if chance.random() < 0.2:
                content_type = mangled(content_type.encode(), chance).decode("latin-1")
            headers = [(b"Content-Type", content_type.encode("latin-1"))]
            if chance.random() < 0.2:
                headers.append((b"Accept", mangled(b"image/png, */*;q=0.2", chance)))
            clean = [(name, bytes(b for b in value if b >= 32).strip()) for name, value in headers]
            answer = running.client.post(
                f"{V}/{verb}", content=mangled(body, chance), headers=clean
            )
            statuses[answer.status_code] += 1
            assert answer.status_code == 200 or answer.status_code in REFUSALS, answer.text
        after = running.client.post(f"{V}/encode", content=PNG)
        assert after.json()["latents"] == before.json()["latents"]
        assert running.client.get("/readyz").status_code == 200
    assert statuses[200] > requests / 50
    assert statuses[400] > requests / 50
    assert statuses[422] > requests / 50


def status_of(port: int, raw: bytes) -> bytes:
    """What bytes on a connection of their own are answered with; nothing where they ask nothing."""
    lost = contextlib.suppress(ConnectionResetError, BrokenPipeError, TimeoutError)
    with socket.create_connection(("127.0.0.1", port), timeout=3) as client, lost:
        client.sendall(raw)
        return client.recv(65_536)[9:12]
    return b""


@pytest.mark.parametrize("connections", RUNS)
def test_damaged_http_is_cut_off_or_answered(
    connections: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("garbled")
    make_oracle(folder)
    chance = random.Random(connections)
    request = (
        f"POST {V}/encode HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\n"
        f"X-Request-ID: a\r\nContent-Length: {len(PNG)}\r\nConnection: close\r\n\r\n"
    ).encode() + PNG
    chunked = (
        (
            f"POST {V}/encode HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
            f"Connection: close\r\n\r\n{len(PNG):x}\r\n"
        ).encode()
        + PNG
        + b"\r\n0\r\n\r\n"
    )
    with served(Settings(models=folder, deadline_ms=1_000)) as running:
        raws = [mangled(chance.choice((request, chunked)), chance) for _ in range(connections)]
        with ThreadPoolExecutor(16) as pool:
            statuses = Counter(pool.map(functools.partial(status_of, running.port), raws))
        assert running.client.get("/readyz").status_code == 200
        answer = httpx.post(
            f"http://127.0.0.1:{running.port}{V}/encode",
            content=PNG,
            headers={"Accept": "application/x-npy"},
        )
        assert np.frombuffer(answer.content[-4:], "<f4").size == 1
    # 307: a slash too many; 429 and 504: the machine is busy.
    allowed = REFUSALS | {200, 307, 408, 429, 504}
    assert statuses.keys() <= {b"", *(str(status).encode() for status in allowed)}
    assert statuses[b"200"] > connections / 50
    assert statuses[b"400"] > connections / 50
