"""A conditional model with a mixed prior, the main path over: its labels are torch's own."""

import subprocess
import sys
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from http_api.conftest import Served, served
from main_path.test_from_images_to_answers import ROOT, biject
from models.datasets import load
from models.datasets.pixels import to_float, to_uint8
from models.networks.labelled import told
from models.training.checkpoint import TrainedPair, load_pair
from models.training.loop import image_spec
from serving import latents, rendering
from serving.settings import Settings

CONFIG: Final = ROOT / "models" / "configs" / "digits-labels.toml"
SMALL: Final = ("model.image=[16,16,1]", "train.threads=1", "train.log_every=250")
NPY: Final = {"Content-Type": "application/x-npy", "Accept": "application/x-npy"}
LATENT, CATEGORICAL = 12, 4


def trained(run: Path, steps: int, *settings: str) -> TrainedPair:
    chosen = [part for each in (*SMALL, *settings) for part in ("--set", each)]
    biject("train", CONFIG, "--out", run, "--steps", steps, "--device", "cpu", *chosen)
    return load_pair(run)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "digits"
    mixed = f"model.latent={LATENT}", f"model.categorical={CATEGORICAL}"
    trained(run, 24, "model.width=4", "train.batch=32", *mixed)
    return run


@pytest.fixture(scope="module")
def pair(run: Path) -> TrainedPair:
    return load_pair(run)


@pytest.fixture(scope="module")
def server(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    models = tmp_path_factory.mktemp("models")
    biject("export", run, models / "digits" / "1", "--calibrate", "digits")
    with served(Settings(models=models, threads=1)) as running:
        yield running


def asked(
    server: Served, verb: str, rows: NDArray[Any] | None = None, **query: Any
) -> NDArray[Any]:
    sent: dict[str, Any] = {} if rows is None else {"content": rendering.npy(rows)}
    headers = {k: v for k, v in NPY.items() if sent or k == "Accept"}
    answer = server.client.post(f"/v1/models/digits/{verb}", params=query, headers=headers, **sent)
    assert answer.status_code == 200, answer.text
    found: NDArray[Any] = np.load(BytesIO(answer.content))
    return found


def drawn(pair: TrainedPair, codes: NDArray[np.float32], labels: list[int]) -> NDArray[np.uint8]:
    with torch.no_grad():
        made = told(pair.generator, torch.tensor(labels))(torch.from_numpy(codes))
    images: NDArray[np.uint8] = to_uint8(made).numpy()
    return images


def close(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> bool:
    """One grey level apart at most: the promised tolerance."""
    return bool(np.abs(one.astype(int) - other).max() <= 1)


@pytest.mark.parametrize(("query", "label"), [({}, -1), ({"label": "7"}, 7), ({"label": 3}, 3)])
def test_a_sampled_label_is_what_g_makes_of_it(
    pair: TrainedPair, server: Served, query: dict[str, Any], label: int
) -> None:
    codes = latents.sample(5, 20, LATENT, "normal", categorical=CATEGORICAL)
    wanted = drawn(pair, codes, [label] * 20)
    assert close(asked(server, "sample", n=20, seed=5, **query), wanted)
    other = drawn(pair, codes, [(label + 1) % 10] * 20)
    assert not close(wanted, other)


def test_codes_of_labels_and_their_categories(pair: TrainedPair, server: Served) -> None:
    images = load("digits", image_spec(pair.config), limit=10).images
    numbers = [int(n) for n in np.arange(10) * 3 % 11 - 1]
    with torch.no_grad():
        x, y = to_float(torch.from_numpy(images)), torch.tensor(numbers)
        wanted = told(pair.encoder, y)(x).numpy()
    body = {"inputs": [
        {"name": "images", "datatype": "UINT8", "shape": list(images.shape),
         "data": images.ravel().tolist()},
        {"name": "labels", "datatype": "INT64", "shape": [10], "data": numbers},
    ]}  # fmt: skip
    answer = server.client.post("/v2/models/digits/infer", json=body).json()
    found = np.reshape(answer["outputs"][0]["data"], (10, LATENT))
    np.testing.assert_allclose(found, wanted, atol=1e-4)
    np.testing.assert_allclose(found[:, -CATEGORICAL:].sum(1), 1, atol=1e-5)
    assert (found[:, -CATEGORICAL:] >= 0).all()
    frames = asked(server, "interpolate", images[:2], frames=5, label=4)
    ends = asked(server, "reconstruct", images[:2], label=4)
    assert close(frames[[0, -1]], ends)


def test_the_manifest_says_so(server: Served) -> None:
    manifest = server.client.get("/v1/models/digits").json()
    assert manifest["classes"] == [str(n) for n in range(10)]
    assert manifest["latent"] == {"size": LATENT, "prior": "normal", "categorical": CATEGORICAL}
    for graph in ("encode", "decode", "reconstruct", "score"):
        (_, labels) = manifest["graphs"][graph]["inputs"]
        assert labels == {"name": "labels", "dtype": "int64", "shape": ["N"]}


def test_evaluation_is_of_what_is_told_nothing(run: Path, tmp_path: Path) -> None:
    biject("evaluate", run, "--data", "digits", "--limit", 40, "--out", tmp_path / "report")
    assert (tmp_path / "report" / "report.html").exists()


def test_data_without_labels_is_wrong_use(tmp_path: Path) -> None:
    np.savez(tmp_path / "plain.npz", images=np.zeros((40, 16, 16), np.uint8))
    command = [sys.executable, "-m", "biject", "train", str(CONFIG), "--out", str(tmp_path / "run")]
    command += ["--data", str(tmp_path / "plain.npz"), "--steps", "1", *("--set", SMALL[0])]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert done.returncode == 2
    (sentence,) = done.stderr.strip().splitlines()
    assert "plain.npz has no labels, which model.classes asks for" in sentence
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_training_conditions_samples_on_their_labels(tmp_path: Path) -> None:
    pair = trained(tmp_path / "run", 500, "model.width=12")
    data = load("digits", image_spec(pair.config))
    judge = LogisticRegression(max_iter=300).fit(data.images.reshape(len(data), -1), data.labels)
    codes = latents.sample(0, 500, pair.config.model.latent, "normal")
    labels = [n % 10 for n in range(500)]
    seen = judge.predict(drawn(pair, codes, labels).reshape(500, -1))
    # chance is 0.1; real digits that the judge has not seen reach 0.95
    assert (seen == labels).mean() > 0.3
