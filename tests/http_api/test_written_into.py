"""Files of a bundle that are written into while it is served."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

import server_process
from server_process import Running
from serving import rendering

FASHION = Path(__file__).parents[2] / "serving/bundles/fashion/1"


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Those of a copy of fashion."""
    copy = tmp_path_factory.mktemp("models") / "fashion" / "1"
    shutil.copytree(FASHION, copy)
    return copy / "weights.bin"


@pytest.fixture(scope="module")
def server(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Of that copy, in a process of its own: one that dies takes nobody along."""
    models, log = weights.parents[2], tmp_path_factory.mktemp("log") / "log"
    arguments = ("--admin-keys", "secret", "--default", "fashion")
    with server_process.running("bare", models, log, *arguments) as running:
        yield running


def answers(server: Running) -> list[bytes]:
    """Of each graph, for the same items."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (40, 32, 32, 1), np.uint8)
    said = [asked(server, verb, images) for verb in ("encode", "reconstruct", "score")]
    return [*said, asked(server, "decode", rng.standard_normal((40, 64), np.float32))]


def asked(server: Running, verb: str, rows: np.ndarray[Any, Any]) -> bytes:
    answer = httpx.post(
        f"{server.url}/v1/models/fashion/{verb}",
        content=rendering.npy(rows),
        headers={"Content-Type": "application/x-npy", "Accept": "application/x-npy"},
        timeout=20,
    )
    assert answer.status_code == 200, answer.text
    return answer.content


@pytest.mark.parametrize("cut", [False, True], ids=["other bytes", "cut short"])
def test_what_is_loaded_answers_as_before(server: Running, weights: Path, cut: bool) -> None:
    before, size = answers(server), weights.stat().st_size
    with weights.open("r+b") as file:  # in place: the same file, as `cp` writes over another
        if cut:
            file.truncate(100)
        else:
            file.write(bytes(size))
    try:
        assert answers(server) == before
        refused = httpx.post(
            f"{server.url}/v1/models/fashion/load",
            headers={"Authorization": "Bearer secret"},
            timeout=20,
        )
        assert refused.status_code == 422
        assert "weights.bin is damaged" in refused.json()["detail"]
        assert answers(server) == before
    finally:
        weights.write_bytes((FASHION / "weights.bin").read_bytes())
