"""A table from its rows to answers: trained, exported with its critic, measured, asked, served."""

import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from click.testing import CliRunner, Result

import server_process
from biject import main
from models.datasets import Cut, load_vectors
from models.training.checkpoint import read_config
from serving import open_bundle
from serving.bundle import read

ROWS = 1500
CONFIG = """
[data]
path = "{path}"
classes = ["fine"]
label = "state"
drop = ["name"]
test = 0.25
holdout = 0.2
[model]
pairing = "bigan"
network = "mlp"
vector = 4
latent = 2
width = 16
critic_norm = "spectral"
[weights]
image = 10.0
[train]
steps = 150
batch = 64
lr = 2e-3
ema = 0.9
threads = 1
"""


def biject(*arguments: object, code: int = 0) -> Result:
    done = CliRunner().invoke(main, [str(a) for a in arguments])
    assert done.exit_code == code, done.output
    return done


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weight follows height in fine rows alone; heights are in the millions."""
    rng = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("table") / "rows.csv"
    lines = ["name,height,weight,colour,state"]
    for i in range(ROWS):
        height, broken = rng.normal(), rng.random() < 0.2
        weight = rng.normal() if broken else height
        colour = "green" if broken else ["red", "blue"][int(height > 0)]
        state = "broken" if broken else "fine"
        lines.append(f"n{i},{5e6 + 1e6 * height:.1f},{weight:.5f},{colour},{state}")
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="module")
def run(table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    (folder / "rows.toml").write_text(CONFIG.format(path=table))
    biject("train", folder / "rows.toml", "--out", folder / "rows")
    return folder / "rows"


@pytest.fixture(scope="module")
def bundle(run: Path, table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("models") / "rows" / "1"
    biject("export", run, out, "--critic", "--calibrate", table)
    return out


@pytest.fixture(scope="module")
def client(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    log = tmp_path_factory.mktemp("server") / "log"
    with (
        server_process.running("bare", bundle.parents[1], log, "--default", "rows") as server,
        httpx.Client(base_url=server.url, timeout=20) as client,
    ):
        yield client


def vectors(bundle: Path, table: Path) -> np.ndarray:
    """The first five rows of the table, as the model takes them."""
    spec = read(bundle).manifest.vector
    assert spec is not None
    return load_vectors(str(table), columns=spec.columns).images[:5]


def test_columns_and_scaling_are_those_of_the_rows_trained_on(
    run: Path, bundle: Path, table: Path
) -> None:
    config, found = read_config(run)
    spec = read(bundle).manifest.vector
    assert spec is not None
    # green is on broken rows alone, which nobody trained on
    assert spec.columns == ("height", "weight", "colour=blue", "colour=red")
    cut = Cut(label="state", test=0.25)
    fine = load_vectors(str(table), cut=cut, classes=["fine"], columns=spec.columns)
    trained, held_out = fine.held_out(0.2, config.train.seed)
    assert (found["items"], found["held_out"]) == (len(trained), len(held_out))
    assert spec.scale is not None
    exact = trained.images.astype(np.float64)
    np.testing.assert_allclose(spec.scale, exact.std(axis=0), rtol=1e-5)
    np.testing.assert_allclose(found["scaling"]["shift"], exact.mean(axis=0), rtol=1e-5)
    assert abs(fine.images[:, 0].astype(np.float64).std() - spec.scale[0]) > 1.0


def test_what_is_broken_is_told_apart(bundle: Path, table: Path) -> None:
    done = biject("evaluate", bundle, "--data", table, "--normal", "fine", "--json")
    figures = json.loads(done.stdout)
    found = figures["one_class"]
    config = read(bundle).manifest.extra["training"]["config"]["data"]
    cut = Cut(label="state", drop=("name",), test=config["test"])
    test = load_vectors(str(table), cut=cut, split="test")
    assert test.labels is not None
    counts = dict(zip(test.classes, np.bincount(test.labels).tolist(), strict=True))
    assert {"fine": found["normal"], "broken": found["abnormal"]} == counts
    assert found["auroc"]["l2"] > 0.9
    assert {"feature", "critic", "knn", "combined"} <= found["auroc"].keys()
    assert {"pca_l2", "isolation_forest"} <= found.keys()
    assert figures["reconstruction"]["l1"] < 1.0  # heights are in millions; scaled ones are not
    calibrated = figures["calibration"]
    assert 0.0 < calibrated["shares"]["0.1"] < 0.25


def test_a_report_without_pictures(bundle: Path, table: Path, tmp_path: Path) -> None:
    done = biject("evaluate", bundle, "--data", table, "--normal", "fine", "--out", tmp_path / "r")
    assert re.search(r"Reconstruction of \d+ vectors", done.stdout)
    html = (tmp_path / "r" / "report.html").read_text()
    assert "<img" not in html
    assert "isolation forest" in html
    assert not list((tmp_path / "r").glob("*.png"))


def test_a_table_offline_as_over_http(
    client: httpx.Client, bundle: Path, table: Path, tmp_path: Path
) -> None:
    few = tmp_path / "few.csv"
    few.write_text("\n".join(table.read_text().splitlines()[:6]) + "\n")
    sent = {"vectors": vectors(bundle, table).tolist()}
    biject("score", bundle, few, "--by", "feature", "--out", tmp_path / "s.json")
    offline = json.loads((tmp_path / "s.json").read_text())
    answer = client.post("/v1/models/rows/score?by=feature&heatmap=map", json=sent).json()
    assert offline["by"] == answer["by"] == "feature"
    assert [row["file"] for row in offline["results"]] == [f"{few}:{i}" for i in range(1, 6)]
    for one, other in zip(offline["results"], answer["results"], strict=True):
        assert one["score"] == pytest.approx(other["score"], rel=1e-4)
        assert one["p_value"] == pytest.approx(other["p_value"])
        assert other["score"] == other["terms"]["feature"]
        assert np.mean(other["heatmap"]) == pytest.approx(other["terms"]["l1"], rel=1e-5)
    biject("encode", bundle, few, "--out", tmp_path / "z.npy")
    latents = client.post("/v1/models/rows/encode", json=sent).json()["latents"]
    np.testing.assert_allclose(np.load(tmp_path / "z.npy"), latents, atol=1e-5)
    back = client.post("/v1/models/rows/reconstruct", json=sent).json()
    np.testing.assert_allclose(
        back["l1"], [row["terms"]["l1"] for row in answer["results"]], rtol=1e-4, atol=1e-6
    )
    refined = client.post("/v1/models/rows/reconstruct?refine=4", json=sent).json()
    assert all(a <= b for a, b in zip(refined["l1"], back["l1"], strict=True))
    biject("reconstruct", bundle, few, "--out", tmp_path / "r.csv")
    head, *rows = (tmp_path / "r.csv").read_text().splitlines()
    assert head == "height,weight,colour=blue,colour=red"
    written = np.array([row.split(",") for row in rows], np.float32)
    np.testing.assert_allclose(written, back["vectors"], rtol=1e-4, atol=1e-4)


def test_the_server_says_what_the_columns_are(client: httpx.Client, bundle: Path) -> None:
    described = client.get("/v1/models/rows").json()["vector"]
    assert described["size"] == 4
    assert described["columns"] == ["height", "weight", "colour=blue", "colour=red"]
    assert described["scale"][0] == pytest.approx(1e6, rel=0.1)
    schemas = json.dumps(client.get("/openapi.json").json())
    assert '"vectors"' in schemas


@pytest.mark.parametrize(
    ("sent", "status", "said"),
    [
        ({"json": {"vectors": [[1, 2, 3]]}}, 422, "4"),
        ({"content": b'{"vectors": [[1, 2, 3, NaN]]}'}, 400, "not JSON"),
        ({"json": {"vectors": [[1, 2, 3, 1e300]]}}, 422, "not finite"),
        ({"json": {"vectors": [[1, 2, 3, None]]}}, 422, "numbers"),
        ({"json": {"images": ["data:image/png;base64,AA"]}}, 400, "`vectors`"),
    ],
)
def test_vectors_that_are_none(
    client: httpx.Client, sent: dict[str, Any], status: int, said: str
) -> None:
    sent.setdefault("headers", {"Content-Type": "application/json"})
    for verb in ("encode", "score"):
        answer = client.post(f"/v1/models/rows/{verb}", **sent)
        assert (answer.status_code, said in answer.json()["detail"]) == (status, True), answer.text


def test_npy_of_another_width(client: httpx.Client) -> None:
    buffer = io.BytesIO()
    np.save(buffer, np.zeros((2, 5), np.float32))
    head = {"Content-Type": "application/x-npy"}
    answer = client.post("/v1/models/rows/score", content=buffer.getvalue(), headers=head)
    assert answer.status_code == 422


def test_pictures_are_refused(client: httpx.Client) -> None:
    sent = {"model": "rows", "prompt": "x", "response_format": "b64_json"}
    answer = client.post("/v1/images/generations", json=sent)
    assert answer.status_code == 400
    assert "vectors, not images" in answer.json()["error"]["message"]
    answer = client.post("/v1/models/rows/score", headers={"Accept": "image/png"}, json={})
    assert answer.status_code == 406


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.csv", "height,colour\n1,red\n", "has no column 'weight'"),
        ("a.csv", "height,weight\n1,2\n", "has no column 'colour'"),
        ("a.csv", "height,weight,colour\n1,nan,red\n", "line 2: weight is nan"),
        ("a.csv", "height,weight,colour\n1,2\n", "2 cells under 3 names"),
        ("a.csv", "", "has no rows"),
        ("a.png", "x", "takes vectors"),
        ("a.npy", "x", "cannot be read"),
    ],
)
def test_tables_that_do_not_fit(
    bundle: Path, tmp_path: Path, name: str, text: str, said: str
) -> None:
    (tmp_path / name).write_text(text)
    done = biject("score", bundle, tmp_path / name, "--out", tmp_path / "s.csv", code=2)
    assert said in done.stderr
    assert not (tmp_path / "s.csv").exists()


def test_another_width_is_refused_before_training(table: Path, tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text(CONFIG.format(path=table))
    done = biject(
        "train", tmp_path / "c.toml", "--out", tmp_path / "r", "--set", "model.vector=5", code=2
    )
    assert "has vectors of 4, the model takes 5" in done.stderr
    assert not (tmp_path / "r").exists()


def test_calibrating_again_keeps_the_critic(bundle: Path, table: Path, tmp_path: Path) -> None:
    out = tmp_path / "rows" / "2"
    biject("calibrate", bundle, "--data", table, "--out", out, "--by", "feature")
    manifest = read(out).manifest
    assert manifest.score.default == "feature"
    assert len(manifest.score.calibration["critic"]) == manifest.score.extra["calibration"]["count"]
    rows = vectors(bundle, table)
    with open_bundle(bundle) as first, open_bundle(out) as second:
        np.testing.assert_allclose(
            first.score(rows).terms, second.score(rows).terms, rtol=1e-5, atol=1e-6
        )
