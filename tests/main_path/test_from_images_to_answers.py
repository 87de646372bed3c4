"""The main path as a user walks it: train, export, serve; the answers are torch's own."""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_digits

from models.datasets import load
from models.datasets.pixels import to_float, to_uint8
from models.training.checkpoint import load_pair
from models.training.loop import image_spec
from server_process import free_port

ROOT = Path(__file__).parents[2]
NPY = {"Content-Type": "application/x-npy", "Accept": "application/x-npy"}


def biject(*arguments: object) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "biject", *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr


@contextlib.contextmanager
def served(models: Path) -> Iterator[httpx.Client]:
    """`biject serve` as a process of its own, ready."""
    port = free_port()
    environ = {k: v for k, v in os.environ.items() if not k.startswith("BIJECT_")}
    command = [sys.executable, "-m", "biject", "serve", str(models), "--port", str(port)]
    process = subprocess.Popen(
        command, cwd=ROOT, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            end = time.monotonic() + 120
            while time.monotonic() < end and process.poll() is None:
                with contextlib.suppress(httpx.TransportError):
                    if client.get("/readyz").status_code == 200:
                        break
                time.sleep(0.1)
            assert process.poll() is None
            yield client
    finally:
        process.terminate()
        process.wait(30)


def asked(client: httpx.Client, verb: str, images: NDArray[np.uint8]) -> NDArray[Any]:
    body = BytesIO()
    np.save(body, images)
    answer = client.post(f"/v1/models/digits/{verb}", content=body.getvalue(), headers=NPY)
    assert answer.status_code == 200, answer.text
    loaded: NDArray[Any] = np.load(BytesIO(answer.content))
    return loaded


def check_answers(run: Path, client: httpx.Client) -> float:
    """Compare what is served with torch; the ratio of own to other reconstruction distance."""
    pair = load_pair(run)
    images = load("digits", image_spec(pair.config), limit=64).images
    with torch.no_grad():
        code = pair.encoder(to_float(torch.from_numpy(images)))
        again = to_uint8(pair.generator(code)).numpy()
    np.testing.assert_allclose(asked(client, "encode", images), code.numpy(), atol=1e-4)
    served_again = asked(client, "reconstruct", images)
    assert np.abs(served_again.astype(int) - again).max() <= 1
    flat = images.reshape(64, -1).astype(float)
    rebuilt = served_again.reshape(64, -1).astype(float)
    own = np.linalg.norm(flat - rebuilt, axis=1).mean()
    other = np.linalg.norm(flat - np.roll(rebuilt, 1, 0), axis=1).mean()
    return float(own / other)


def test_a_short_run_is_served_as_torch_computes_it(tmp_path: Path) -> None:
    run, models = tmp_path / "run", tmp_path / "models"
    biject(
        "train", "models/configs/digits.toml", "--out", run, "--steps", 30,
        "--set", "model.image=[16, 16, 1]", "--set", "model.width=8", "--set", "train.threads=1",
        "--set", "train.sample_every=30",
    )  # fmt: skip
    biject("export", run, models / "digits/1")
    with served(models) as client:
        assert check_answers(run, client) < 1


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_digits_of_the_readme_reconstruct(tmp_path: Path) -> None:
    run, models = tmp_path / "run", tmp_path / "models"
    biject("train", "models/configs/digits.toml", "--out", run)
    biject("export", run, models / "digits/1")
    with served(models) as client:
        assert check_answers(run, client) < 0.3
        digit = load_digits().images[0] * 255 / 16
        body = BytesIO()
        np.save(body, np.kron(digit, np.ones((4, 4))).astype(np.uint8)[None, :, :, None])
        scored = client.post(
            "/v1/models/digits/score",
            content=body.getvalue(),
            headers={"Content-Type": "application/x-npy"},
        ).json()
        assert scored["by"] == "l2s"
        terms = {"l1", "l2", "l2s", "peak", "blob", "cycle", "ssim", "prior"}
        assert set(scored["results"][0]["terms"]) == terms
