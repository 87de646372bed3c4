"""Terms of codes: appended to the score graph, and equal to what scikit-learn makes of E(x)."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner, Result
from onnx import TensorProto, helper, numpy_helper
from onnxruntime import InferenceSession
from scipy.spatial.distance import cdist
from sklearn.covariance import LedoitWolf
from sklearn.neighbors import NearestNeighbors

from bars import bars
from biject import main
from export import bundle_writer, calibration, latent_terms
from export.destination import destination
from export.latent_terms import Codes
from export.watching import Silent
from models.datasets import Dataset
from oracle import make_oracle
from serving.bundle import read
from serving.engine import Engine
from small_pairs import vector_pair

IMAGE_TERMS = ["l1", "l2", "l2s", "peak", "blob", "cycle", "ssim", "prior"]
CODE_TERMS = ["mahalanobis", "knn", "combined"]


def calibrate(bundle: Path, data: Path, out: Path, *more: str) -> Result:
    command = ["calibrate", str(bundle), "--data", str(data), "--out", str(out), *more]
    return CliRunner().invoke(main, command)


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """300 images that training never saw."""
    path = tmp_path_factory.mktemp("fresh") / "fresh.npz"
    np.savez(path, images=bars(300, seed=11)[0])
    return path


@pytest.fixture(scope="module")
def calibrated(bundle: Path, fresh: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("models") / "bars" / "2"
    result = calibrate(bundle, fresh, out, "--by", "combined")
    assert result.exit_code == 0, result.output
    assert "100 lend their codes to mahalanobis and knn" in result.stderr
    return out


def divided() -> tuple[np.ndarray, np.ndarray]:
    """(judging, kept): of 300, by the generator that the docstring names."""
    order = np.random.Generator(np.random.Philox(key=0)).permutation(300)
    images = bars(300, seed=11)[0][..., None]
    return images[np.sort(order[100:])], images[np.sort(order[:100])]


def answers(bundle: Path, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(latents, terms), in double precision."""
    engine = Engine(read(bundle), device="cpu")
    return tuple(engine.run(g, [images])[0].astype(np.float64) for g in ("encode", "score"))  # type: ignore[return-value]


def test_terms_equal_those_of_scikit_learn(calibrated: Path, bundle: Path) -> None:
    judging, kept = divided()
    codes, _ = answers(bundle, kept)
    images = np.concatenate([judging, np.random.default_rng(5).integers(0, 256, (40, 16, 16, 1))])
    latents, terms = answers(calibrated, images.astype(np.uint8))
    _, before = answers(bundle, images.astype(np.uint8))
    manifest = json.loads((calibrated / "manifest.json").read_text())
    assert manifest["score"]["terms"] == IMAGE_TERMS + CODE_TERMS
    assert manifest["score"]["default"] == "combined"
    assert np.allclose(terms[:, :8], before, atol=1e-6)
    size = codes.shape[1]
    deviation = LedoitWolf().fit(codes).mahalanobis(latents) / size
    assert np.allclose(terms[:, 8], deviation, rtol=1e-3, atol=1e-4)
    near = NearestNeighbors(n_neighbors=5).fit(codes).kneighbors(latents)[0].mean(axis=1)
    assert np.allclose(terms[:, 9], near / np.sqrt(size), rtol=1e-3, atol=1e-4)
    l2s, knn = terms[:200, 2], terms[:200, 9]
    combined = terms[:, 2] / l2s.std() + terms[:, 9] / knn.std()
    assert np.allclose(terms[:, 10], combined, rtol=1e-3)
    assert manifest["score"]["combined"] == {
        "l2s": pytest.approx(1 / l2s.std(), rel=1e-3),
        "knn": pytest.approx(1 / knn.std(), rel=1e-3),
    }


def test_only_images_whose_codes_are_not_kept_are_scored(calibrated: Path) -> None:
    _, terms = answers(calibrated, divided()[0])
    found = read(calibrated).manifest.score.calibration
    assert set(found) == set(IMAGE_TERMS + CODE_TERMS)
    for i, name in enumerate(IMAGE_TERMS + CODE_TERMS):
        assert np.allclose(found[name], np.sort(terms[:, i]), rtol=1e-4, atol=1e-6), name


def test_the_answers_it_carries_are_those_it_gives(calibrated: Path) -> None:
    with np.load(calibrated / "golden.npz") as golden:
        _, terms = answers(calibrated, golden["score.images"])
        assert terms.shape[1] == 11
        assert np.allclose(golden["score.terms"], terms, rtol=1e-3, atol=1e-4)


def test_calibrating_again_replaces_the_terms(
    calibrated: Path, fresh: Path, tmp_path: Path
) -> None:
    again = tmp_path / "bars" / "3"
    assert calibrate(calibrated, fresh, again).exit_code == 0
    first, second = (
        onnx.load(p / "score.onnx", load_external_data=False) for p in (calibrated, again)
    )
    assert [n.name for n in first.graph.initializer] == [n.name for n in second.graph.initializer]
    assert [list(n.output) for n in first.graph.node] == [list(n.output) for n in second.graph.node]
    manifest = read(again).manifest
    assert list(manifest.score.terms) == IMAGE_TERMS + CODE_TERMS
    assert manifest.score.default == "combined"
    few = tmp_path / "few.npz"
    np.savez(few, images=bars(20, seed=12)[0])
    fewer = tmp_path / "bars" / "4"
    assert calibrate(again, few, fewer).exit_code == 0  # its neighbours stay those of before
    assert list(read(fewer).manifest.score.terms) == IMAGE_TERMS + CODE_TERMS
    assert len(read(fewer).manifest.score.calibration["knn"]) == 20


def test_a_few_images_are_all_needed_to_judge(bundle: Path, tmp_path: Path) -> None:
    few, out = tmp_path / "few.npz", tmp_path / "bars" / "2"
    np.savez(few, images=bars(149, seed=12)[0])
    assert calibrate(bundle, few, out).exit_code == 0
    assert list(read(out).manifest.score.terms) == IMAGE_TERMS
    assert (out / "score.onnx").read_bytes() == (bundle / "score.onnx").read_bytes()


def test_a_graph_without_codes_gets_no_such_terms(fresh: Path, tmp_path: Path) -> None:
    oracle = make_oracle(tmp_path, height=16, width=16, channels=1, block=4)
    model = onnx.load(oracle / "score.onnx")
    opened = read(oracle)
    images = bars(8, seed=1)[0][..., None]
    wrong = np.full((8, 16), 7.0, np.float32)
    assert latent_terms.find_latents(opened, images, wrong) is None
    right = Engine(opened, device="cpu").run("encode", [images])[0]
    # Weights multiplied in the graph: as wide as codes, of more rows, and looked at first.
    left, other = np.ones((9, 2), np.float32), np.ones((2, right.shape[1]), np.float32)
    model.graph.initializer.append(numpy_helper.from_array(left, "left"))
    model.graph.initializer.append(numpy_helper.from_array(other, "other"))
    model.graph.node.insert(0, helper.make_node("MatMul", ["left", "other"], ["weights"]))
    onnx.save(model, oracle / "score.onnx")
    found = latent_terms.find_latents(opened, images, right)
    assert found in {name for node in model.graph.node for name in node.output}
    assert found != "weights"


def test_equal_codes_have_no_neighbourhood() -> None:
    assert latent_terms.fit(np.ones((60, 3), np.float32)) is None


def test_a_term_that_is_not_there(bundle: Path, fresh: Path, tmp_path: Path) -> None:
    result = calibrate(bundle, fresh, tmp_path / "bars" / "2", "--by", "beauty")
    assert result.exit_code == 2
    assert "there is no term 'beauty': --by takes l1, l2," in result.stderr
    assert not (tmp_path / "bars").exists()


def test_graphs_that_answer_otherwise_are_refused(
    bundle: Path, fresh: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = Codes.terms

    def wrong(self: Codes, latents: np.ndarray) -> np.ndarray:
        return right(self, latents) * 1.1

    monkeypatch.setattr(Codes, "terms", wrong)
    result = calibrate(bundle, fresh, tmp_path / "bars" / "2")
    assert result.exit_code == 1
    assert "score's terms by" in result.stderr
    assert not (tmp_path / "bars").exists()
    assert calibration.kept_codes(300) == 100


def test_neighbours_that_nearly_touch_are_as_near_as_they_are() -> None:
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(12, 2)) * 3
    kept = np.repeat(centres, 5, axis=0) + rng.normal(size=(60, 2)) * 1e-4
    codes = latent_terms.fit(kept.astype(np.float32))
    assert codes is not None
    nodes, constants = latent_terms._nodes("z", codes, np.zeros(3), before="b", after="terms")
    z_of, before, after = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", size])
        for name, size in (("z", 2), ("b", 1), ("terms", 4))
    )
    graph = helper.make_graph(
        nodes,
        "terms",
        [z_of, before],
        [after],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    session = InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    z = centres.astype(np.float32)
    terms = session.run(None, {"z": z, "b": np.zeros((12, 1), np.float32)})[0]
    wanted = codes.terms(z)
    assert wanted[:, 1].max() < 3e-4
    np.testing.assert_allclose(terms[:, 2], wanted[:, 1], rtol=0.02)


def near_rows(count: int, seed: int) -> np.ndarray:
    """Like a table of connections: most are nearly the same, a few lie elsewhere."""
    rng = np.random.default_rng(seed)
    rows = 30 + 1e-4 * rng.standard_normal((count, 6))
    few = slice(0, count // 50)
    rows[few] += rng.standard_normal((len(rows[few]), 6)) * 1e-3
    return rows.astype(np.float32)


def test_codes_that_are_nearly_the_same_are_told_apart(tmp_path: Path) -> None:
    rows = near_rows(900, seed=1)
    out = destination(tmp_path / "near" / "1")
    normal = calibration.Normal(images=Dataset(images=rows), source="near", hashes=None)
    bundle_writer.write(
        vector_pair(6, latent=4), out, preprocess={}, facts={},
        calibrate=lambda at, said: calibration.calibrate(at, said, normal=normal, watch=Silent()),
    )  # fmt: skip
    codes, _ = answers(out.path, rows)
    order = np.random.Generator(np.random.Philox(key=0)).permutation(900)
    kept, judged = codes[np.sort(order[:300])], np.sort(order[300:])
    _, terms = answers(out.path, rows[judged])
    wanted = np.sort(cdist(codes[judged], kept), axis=1)[:, :5].mean(axis=1) / 2
    manifest = read(out.path).manifest
    knn = terms[:, manifest.score.terms.index("knn")]
    assert np.abs(codes).max() > 1
    assert wanted.max() < 1e-2
    assert np.abs(knn - wanted).max() < 0.01 * wanted.std()
