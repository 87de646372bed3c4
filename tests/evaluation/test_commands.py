"""`biject export` and `biject evaluate` as a person types them."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from bars import make_run, write_data
from biject import main
from export import bundle_writer
from export.errors import ParityFailure
from export.graphs import EncodeGraph
from export.parity import OutputError, expected
from export.runs import pair_of, without_folders
from models.training.checkpoint import load_pair
from serving.bundle import read
from serving.engine import Engine


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def run(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("runs") / "bars", folder)


def biject(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments])


@pytest.fixture(scope="module")
def bundle(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """bars/1, exported by the command."""
    out = tmp_path_factory.mktemp("models") / "bars" / "1"
    result = biject("export", run, out)
    assert (result.exit_code, result.stdout) == (0, f"{out}\n"), result.output
    assert "comparing with torch" in result.stderr
    return out


def test_an_exported_run_answers_as_its_networks(run: Path, bundle: Path) -> None:
    trained = load_pair(run)
    images = np.random.default_rng(0).integers(0, 256, (5, 16, 16, 1), np.uint8)
    wanted = expected(EncodeGraph(pair_of(trained)), images)[0]
    got = Engine(read(bundle, name="bars", version=1), device="cpu").run("encode", [images])[0]
    np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-4)


def test_the_manifest_tells_of_the_training(run: Path, bundle: Path, folder: Path) -> None:
    extra = read(bundle).manifest.extra
    assert (extra["pairing"], extra["objective"]) == ("aegan", "gan")
    training = extra["training"]
    assert training["commands"] == ["biject train bars.toml"]
    assert training["export"] == "biject export bars bars/1"  # absolute paths stay on this machine
    assert (training["steps"], training["items"], training["held_out"]) == (3, 90, 30)
    assert training["data"] == training["config"]["data"]["path"] == "single.npz"
    assert str(folder) not in (bundle / "manifest.json").read_text()
    assert extra["biject"]


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        ("biject train a.toml --out runs/a", "biject train a.toml --out runs/a"),
        ("biject train /home/me/a.toml --out '/tmp/b c/'", "biject train a.toml --out 'b c'"),
        ("biject train --resume /tmp/a  # from step 7", "biject train --resume a  # from step 7"),
        ("biject train a.toml --data=/home/ann/secret", "biject train a.toml --data=secret"),
        ("biject train a.toml --data ../../home/ann", "biject train a.toml --data ann"),
        ("biject train a.toml --data=../../../home/ann", "biject train a.toml --data=ann"),
        ("biject train a.toml --data x/../../ann/y", "biject train a.toml --data y"),
        ("biject train a.toml --data '~/pictures/x'", "biject train a.toml --data x"),
        ("biject train a --set data.path=/home/ann/x", "biject train a --set data.path=x"),
        ("biject train a --set=data.path=/home/ann/x", "biject train a --set=data.path=x"),
        ("biject train a --set data.path=../../../ann/x", "biject train a --set data.path=x"),
        (
            """biject train a --set 'data.path="/home/ann/x"'""",
            """biject train a --set 'data.path="x"'""",
        ),
        (
            "biject train models/configs/fashion.toml --set train.lr=1e-4 --data ./x/",
            "biject train models/configs/fashion.toml --set train.lr=1e-4 --data ./x/",
        ),
        ("biject export /tmp/runs/s /tmp/my-models/s/1", "biject export s s/1"),
        ("biject export ../runs/s ../../my-models/s/1/", "biject export s s/1"),
        ("biject export runs/s /home/ann/new", "biject export runs/s new"),
        ("biject export /home/ann/7 my-models/digits/1", "biject export 7 my-models/digits/1"),
        (
            "biject evaluate m/s/1 --data=/x/1 --write /y/s/2",
            "biject evaluate m/s/1 --data=1 --write s/2",
        ),
        ("biject evaluate m/s/1 --write=/tmp/y/s/2", "biject evaluate m/s/1 --write=s/2"),
    ],
)
def test_no_folder_of_this_machine_travels_in_a_command(typed: str, kept: str) -> None:
    assert without_folders(typed) == kept


def test_a_run_of_vectors(tmp_path: Path) -> None:
    config = tmp_path / "ring.toml"
    config.write_text("""
        [data]
        path = "toy:ring"
        [model]
        pairing = "bigan"
        network = "mlp"
        vector = 2
        latent = 1
        width = 8
        [train]
        steps = 2
        threads = 1
    """)
    assert biject("train", config, "--out", tmp_path / "run").exit_code == 0
    out = tmp_path / "models" / "ring" / "1"
    result = biject("export", tmp_path / "run", out)
    assert result.exit_code == 0, result.output
    trained = load_pair(tmp_path / "run")
    points = np.array([[0, 1], [-1, 0.5]], np.float32)
    wanted = expected(EncodeGraph(pair_of(trained)), points)[0]
    got = Engine(read(out), device="cpu").run("encode", [points])[0]
    np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-4)
    figures = []
    for subject in (tmp_path / "run", out):
        measured = biject("evaluate", subject, "--data", "toy:ring", "--limit", "500", "--json")
        assert measured.exit_code == 0, measured.output
        figures.append(json.loads(measured.stdout))
    rebuilt = [each["reconstruction"]["l1"] for each in figures]
    assert rebuilt[0] == pytest.approx(rebuilt[1], rel=1e-4)
    refused = biject("evaluate", out, "--data", "toy:ring", "--features", tmp_path / "f.onnx")
    assert refused.exit_code == 2
    assert "takes vectors" in refused.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["{run}", "{tmp}/bars"], 2, "does not end in NAME/VERSION"),
        (["{run}", "{bundle}"], 2, "bundles never change in place"),
        (["{tmp}", "{tmp}/m/bars/1"], 2, "config.json"),
        (["{tmp}/nothing", "{tmp}/m/bars/1"], 2, "config.json"),
        (["{run}", "{tmp}/m/bars/1", "--name", "other"], 2, "must be equal"),
        (["{run}", "{tmp}/m/bars/1", "--precision", "fp16"], 2, "fp16"),
        (["{run}", "{tmp}/m/bars/1", "--version", "0"], 2, "version"),
    ],
)
def test_a_wrong_export_is_one_sentence(
    run: Path, bundle: Path, tmp_path: Path, arguments: list[str], code: int, message: str
) -> None:
    given = [a.format(run=run, bundle=bundle, tmp=tmp_path) for a in arguments]
    result = biject("export", *given)
    assert result.exit_code == code
    assert result.stdout == ""
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("Error: ")
    assert message in last
    assert os.listdir(tmp_path) == []


def test_a_failed_parity_is_failed_work(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = OutputError(graph="decode", output="images", absolute=7.0, judged=7.0, tolerance=1.0)
    assert not error.holds

    def fail(*_: object, **__: object) -> None:
        raise ParityFailure([str(error)])

    monkeypatch.setattr(bundle_writer, "write", fail)
    result = biject("export", run, tmp_path / "bars" / "1")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "decode's images by 7, allowed are 1" in result.stderr


def test_evaluate_prints_a_table_and_writes_a_report(
    bundle: Path, folder: Path, tmp_path: Path
) -> None:
    result = biject(
        "evaluate", bundle, "--data", folder / "parts.npz",
        "--against", folder / "noise.npz", "--out", tmp_path / "report",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    for line in ("bars, version 1 on", "mean absolute error", "PCA-4", "raw pixels",
                 "E with random weights", "l2s (default)", "classes covered"):  # fmt: skip
        assert line in result.stdout
    assert "training a classifier" in result.stderr
    assert sorted(os.listdir(tmp_path / "report")) == [
        "interpolations.png", "reconstructions.png", "report.html", "report.json", "samples.png",
    ]  # fmt: skip
    found = json.loads((tmp_path / "report" / "report.json").read_text())
    assert f"{found['reconstruction']['l1']:.4f}" in result.stdout
    wall = np.asarray(Image.open(tmp_path / "report" / "samples.png"))
    assert wall.shape == (12 * 16, 12 * 16)
    served = biject("sample", bundle, "-n", 1, "--seed", 0, "--out", tmp_path / "one.png")
    assert served.exit_code == 0, served.output
    assert np.array_equal(np.asarray(Image.open(tmp_path / "one.png")), wall[:16, :16])
    pairs = np.asarray(Image.open(tmp_path / "report" / "reconstructions.png"))
    with np.load(folder / "parts.npz") as data:
        assert any(np.array_equal(pairs[:16, :16], image) for image in data["test_images"])


def test_json_is_all_there_is_on_stdout(run: Path, folder: Path) -> None:
    result = biject("evaluate", run, "--data", folder / "bare.npz", "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["subject"]["kind"] == "run"
    assert 0 < found["reconstruction"]["l1"] < 1


def test_write_makes_a_new_version_with_the_figures(bundle: Path, folder: Path) -> None:
    out = bundle.with_name("2")
    result = biject("evaluate", bundle, "--data", folder / "parts.npz", "--write", out, "--json")
    assert result.exit_code == 0, result.output
    quality = read(out, name="bars", version=2).manifest.extra["quality"]
    assert quality == json.loads(result.stdout)
    card = (out / "card.md").read_text()
    assert f"| mean absolute error, of 1 | {quality['reconstruction']['l1']:.4f} |" in card
    assert "Not measured yet" not in card
    assert "Not measured yet" in (bundle / "card.md").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{tmp}", "--data", "{data}/parts.npz"], "neither a run"),
        (["{run}", "--data", "{tmp}/none.npz"], "no data at"),
        (["{run}", "--data", "{data}/parts.npz", "--against", "{tmp}/none"], "no data at"),
        (["{run}", "--data", "{data}/parts.npz", "--write", "{tmp}/m/bars/9"], "is a run"),
        (["{bundle}", "--data", "{data}/parts.npz", "--write", "{bundle}"], "never change"),
        (["{run}"], "--data"),
        (["{run}", "--data", "{data}/parts.npz", "--limit", "0"], "--limit"),
    ],
)
def test_a_wrong_evaluate_is_one_sentence(
    run: Path, bundle: Path, folder: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    given = [a.format(run=run, bundle=bundle, data=folder, tmp=tmp_path) for a in arguments]
    result = biject("evaluate", *given)
    assert result.exit_code == 2, result.output
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("Error: ")
    assert message in last
    assert result.stdout == ""
