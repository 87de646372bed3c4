"""What evaluate says of samples, codes, cycles and detection, against numpy and scikit-learn."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from scipy.stats import kstest
from sklearn.metrics import average_precision_score, roc_auc_score

from bars import bars, make_run, write_data
from export import features, likeness, parts
from export.errors import BadData
from export.evaluate import Asked, evaluate
from export.subjects import Subject, open_subject
from export.watching import Silent
from export.work import Work
from models.errors import DataError, UnknownName
from models.metrics.frechet import frechet_distance
from models.metrics.ssim import ssim
from oracle import make_oracle, oracle_decode, oracle_encode, oracle_reconstruct, oracle_score
from serving.latents import sample

SIZE: dict[str, Any] = {"height": 16, "width": 16, "channels": 1, "block": 4}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def run(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Subject:
    return open_subject(make_run(tmp_path_factory.mktemp("runs") / "bars", folder))


@pytest.fixture(scope="module")
def oracle(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    return open_subject(make_oracle(tmp_path_factory.mktemp("oracle"), **SIZE))


@pytest.fixture(scope="module")
def figures(oracle: Subject, folder: Path) -> dict[str, Any]:
    asked = Asked(data=str(folder / "parts.npz"), normal=("1",))
    return dict(evaluate(oracle, asked).figures)


def test_the_spaces_and_their_names(figures: dict[str, Any], run: Subject, folder: Path) -> None:
    found = figures["likeness"]
    assert (found["rows"], found["subset"], found["transport"]) == (60, 60, 60)
    assert [space["key"] for space in found["spaces"]] == ["pixels", "codes", "classifier"]
    assert "FID" not in str(figures)
    of_run = evaluate(run, Asked(data=str(folder / "parts.npz"))).figures["likeness"]
    names = [space["name"] for space in of_run["spaces"]]
    assert names == [
        "raw pixels", "codes E(x)", "E's last hidden layer",
        "an untrained E's last hidden layer", "classifier features",
    ]  # fmt: skip
    hidden, untrained = of_run["spaces"][2:4]
    assert hidden["dimensions"] == untrained["dimensions"] == 4 * 4 * 8
    assert hidden["samples"] != untrained["samples"]


def test_samples_are_compared_with_the_test_part(figures: dict[str, Any], folder: Path) -> None:
    with np.load(folder / "parts.npz") as data:
        test, train = (data[f"{part}_images"].reshape(-1, 256) / 255 for part in ("test", "train"))
    drawn = oracle_decode(sample(0, 60, 16, "normal"), **SIZE).reshape(-1, 256) / 255
    pixels = figures["likeness"]["spaces"][0]
    assert pixels["samples"]["frechet"] == pytest.approx(
        frechet_distance(real=test, samples=drawn), rel=1e-4
    )
    some = train[np.linspace(0, 119, 60).round().astype(int)]
    assert pixels["real"]["frechet"] == pytest.approx(
        frechet_distance(real=test, samples=some), rel=1e-4
    )
    assert pixels["samples"]["two_sample_real"] > 0.9  # blocks of noise are no bars
    assert 0.3 < pixels["real"]["two_sample_real"] < 0.8
    assert any("Frechet distance in raw pixels is too large: 60" in n for n in figures["notes"])


def test_real_against_itself_is_perfect() -> None:
    rows = np.random.default_rng(0).normal(size=(50, 4))
    found = likeness.distances(rows, rows, seed=0)
    assert (found["precision"], found["recall"], found["coverage"]) == (1, 1, 1)
    assert found["frechet"] == pytest.approx(0, abs=1e-9)
    assert found["sliced_wasserstein"] == 0
    assert (found["two_sample_real"], found["two_sample_samples"]) == (0, 0)


def test_codes_cycle_and_ssim(figures: dict[str, Any], folder: Path) -> None:
    with np.load(folder / "parts.npz") as data:
        test = data["test_images"][..., None]
    codes = oracle_encode(test, 4)
    ks = [kstest(codes[:, i].astype(float), "norm").statistic for i in range(16)]
    assert figures["codes"]["ks"]["mean"] == pytest.approx(np.mean(ks))
    assert figures["codes"]["ks"]["largest"] == pytest.approx(max(ks))
    assert figures["codes"]["mmd"]["codes"] > 10 * abs(figures["codes"]["mmd"]["prior"])
    z = sample(0, 2000, 16, "normal")
    back = oracle_encode(oracle_decode(z, **SIZE), 4)
    cycle = figures["cycle"]
    assert cycle["rounded"] == pytest.approx(((z - back) ** 2).mean(), rel=1e-4)
    assert cycle["another"] == pytest.approx(((np.roll(z, 1, axis=0) - back) ** 2).mean(), rel=1e-4)
    assert "float" not in cycle  # a bundle's graphs give whole grey levels
    wanted = ssim(images=test, reconstructions=oracle_reconstruct(test, 4)).mean()
    assert figures["reconstruction"]["ssim"] == pytest.approx(wanted)
    assert figures["reconstruction"]["pca"]["ssim"] > wanted  # of bars, by PCA-16


def test_a_cycle_that_hides_in_fine_shades_shows(run: Subject, folder: Path) -> None:
    found = evaluate(run, Asked(data=str(folder / "bare.npz"), limit=12)).figures["cycle"]
    assert found["float"] == pytest.approx(found["rounded"], rel=0.05)
    assert found["float"] != found["rounded"]


def test_morphs_move_as_evenly_as_they_do(figures: dict[str, Any]) -> None:
    found = figures["morphs"]
    assert (found["paths"], found["frames"]) == (30, 12)
    assert 1 <= found["pixels"] < found["pixels_fade"] < 1.5  # bars that stay where they are
    assert 1 <= found["classifier_fade"] < 11


def test_scores_of_real_images_stand_beside_those_of_samples(figures: dict[str, Any]) -> None:
    found = figures["samples"]
    assert found["real"]["count"] == 60
    assert 1 <= found["mode_score"] <= found["inception_score"] <= 3
    assert 2 < found["real"]["mode_score"] <= found["real"]["inception_score"] <= 3


def test_one_class_against_the_rest(figures: dict[str, Any], folder: Path) -> None:
    with np.load(folder / "parts.npz") as data:
        test, labels = data["test_images"][..., None], data["test_labels"]
    terms = oracle_score(test, 4).terms
    truth = labels != 1
    found = figures["one_class"]
    assert (found["normal"], found["abnormal"]) == ((~truth).sum(), truth.sum())
    assert found["abnormal_share"] == pytest.approx(truth.mean())
    for i, term in enumerate(("l1", "l2", "l2s", "cycle")):
        assert found["auroc"][term] == pytest.approx(roc_auc_score(truth, terms[:, i]), abs=0.02)
        wanted = average_precision_score(truth, terms[:, i])
        assert found["average_precision"][term] == pytest.approx(wanted, abs=0.02)
    assert found["pca_l2"] == 1  # fitted to bars of one row, it cannot draw another
    assert found["isolation_forest"] > 0.7
    assert found["pca_l2_average_precision"] == 1


def test_one_class_of_data_without_a_test_part(run: Subject, folder: Path) -> None:
    """Normal images are those that training held out; baselines see only what it was given."""
    single = str(folder / "single.npz")
    sides = parts.read_one_class(run, single, ("0", "2"), watch=Silent())
    trained, held_out = _split(run, folder)
    assert sides.train is not None
    assert len(sides.train) == (trained != 1).sum()
    assert len(sides.normal) == (held_out != 1).sum()
    assert len(sides.abnormal) == (np.concatenate([trained, held_out]) == 1).sum()
    assert any("trained on other classes too: 1" in note for note in sides.notes)
    unknown = dataclasses.replace(run, fingerprint="other")
    sides = parts.read_one_class(unknown, single, ("0",), watch=Silent())
    assert sides.train is None
    assert any("training may have seen" in note for note in sides.notes)


def _split(run: Subject, folder: Path) -> tuple[np.ndarray, np.ndarray]:
    kept = parts.read(run, str(folder / "single.npz"), watch=Silent())
    assert kept.train is not None
    return parts.labels_of(kept.train), parts.labels_of(kept.test)


def test_one_class_alone_has_no_neighbours_of_another(oracle: Subject, tmp_path: Path) -> None:
    pictures = bars(60, seed=0)[0]
    labels = np.zeros(30, np.uint8)
    np.savez(
        tmp_path / "one.npz", train_images=pictures[:30], train_labels=labels,
        test_images=pictures[30:], test_labels=labels,
    )  # fmt: skip
    found = evaluate(oracle, Asked(data=str(tmp_path / "one.npz"))).figures
    assert found.keys().isdisjoint({"one_nn", "samples"})
    assert any("of one class: 1-NN and the classes" in note for note in found["notes"])


def test_a_class_that_is_none(oracle: Subject, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="no class named 'shoe'; choose from: 0, 1, 2"):
        evaluate(oracle, Asked(data=str(folder / "parts.npz"), normal=("shoe",)))
    with pytest.raises(DataError, match="leaves 60 normal and 0 other images"):
        evaluate(oracle, Asked(data=str(folder / "parts.npz"), normal=("0", "1", "2")))
    with pytest.raises(DataError, match="no labels"):
        evaluate(oracle, Asked(data=str(folder / "bare.npz"), normal=("0",)))


def test_the_layout_of_mvtec(oracle: Subject, tmp_path: Path) -> None:
    from PIL import Image

    rng = np.random.default_rng(0)
    for place, count in (("train/good", 12), ("test/good", 6), ("test/crack", 5)):
        (tmp_path / place).mkdir(parents=True)
        for i in range(count):
            pixels = np.full((16, 16), 60, np.uint8)
            if "crack" in place:
                pixels = rng.integers(0, 256, (16, 16), np.uint8)
            Image.fromarray(pixels).save(tmp_path / place / f"{i}.png")
    (tmp_path / "ground_truth" / "crack").mkdir(parents=True)
    Image.fromarray(pixels).save(tmp_path / "ground_truth" / "crack" / "0_mask.png")
    found = evaluate(oracle, Asked(data=str(tmp_path), normal=("good",))).figures["one_class"]
    assert (found["normal"], found["abnormal"]) == (6, 5)
    assert found["auroc"]["l2"] == 1


def network(path: Path, shape: list[Any], *, kind: int = TensorProto.UINT8) -> Path:
    """A network whose features are the means of the rows of the image."""
    nodes = [
        helper.make_node("Cast", ["x"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["f", "axes"], ["y"], keepdims=0),
    ]
    axes = helper.make_tensor("axes", TensorProto.INT64, [2], [2, 3])
    graph = helper.make_graph(
        nodes, "means", [helper.make_tensor_value_info("x", kind, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", shape[1]])], [axes],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.save(model, path)
    return path


@pytest.mark.parametrize("shape", [["N", 16, 16, 1], ["N", "H", "W", "C"], [None, 16, 16, 3]])
def test_features_of_a_file(tmp_path: Path, shape: list[Any]) -> None:
    """A grey image is given to a network of RGB images three times over."""
    space = features.from_file(network(tmp_path / "eye.onnx", shape), (16, 16, 1))
    assert space.name == "features of eye.onnx"
    x = bars(150, seed=0)[0][..., None]
    np.testing.assert_allclose(space.encode(x), x.mean(axis=(2, 3)), rtol=1e-5)


def test_a_file_is_compared_in_and_named(oracle: Subject, folder: Path, tmp_path: Path) -> None:
    file = network(tmp_path / "eye.onnx", ["N", 16, 16, 1])
    asked = Asked(data=str(folder / "bare.npz"), features=file)
    spaces = evaluate(oracle, asked).figures["likeness"]["spaces"]
    assert [space["name"] for space in spaces][-1] == "features of eye.onnx"
    assert spaces[-1]["dimensions"] == 16


@pytest.mark.parametrize(
    ("shape", "kind"),
    [
        (["N", 8, 16, 1], TensorProto.UINT8),
        (["N", 16, 16, 1], TensorProto.FLOAT),
        (["N", 16, 16], TensorProto.UINT8),
    ],
    ids=["size", "dtype", "axes"],
)
def test_a_network_of_other_images_is_refused(tmp_path: Path, shape: list[Any], kind: int) -> None:
    file = tmp_path / "eye.onnx"
    inputs = [helper.make_tensor_value_info("x", kind, shape)]
    outputs = [helper.make_tensor_value_info("y", kind, shape)]
    node = helper.make_node("Identity", ["x"], ["y"])
    graph = helper.make_graph([node], "same", inputs, outputs)
    opsets = [helper.make_opsetid("", 20)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), file)
    with pytest.raises(BadData, match=r"must take uint8 images \[N, 16, 16, 1\], but it takes x"):
        features.from_file(file, (16, 16, 1))
    file.write_bytes(b"no network")
    with pytest.raises(BadData, match="is no ONNX network"):
        features.from_file(file, (16, 16, 1))


def test_samples_are_the_servers_however_many_are_drawn_at_once(
    oracle: Subject, folder: Path
) -> None:
    data = parts.read(oracle, str(folder / "bare.npz"), limit=4, watch=Silent())
    work = Work(oracle, data, 7, Silent())
    few, more = work.samples(5), work.samples(40)
    wanted = oracle_decode(sample(7, 40, 16, "normal"), **SIZE)
    assert np.array_equal(few, wanted[:5])
    assert np.array_equal(more, wanted)


def test_a_calibrated_bundle_says_what_it_flags(folder: Path, tmp_path: Path) -> None:
    scores = oracle_score(bars(300, seed=5)[0][..., None], 4).terms
    known = {"l1": np.sort(scores[:, 0].astype(float)).tolist()}
    calibrated = open_subject(make_oracle(tmp_path, calibration=known, **SIZE))
    found = evaluate(calibrated, Asked(data=str(folder / "parts.npz"))).figures["calibration"]
    with np.load(folder / "parts.npz") as data:
        fresh = oracle_score(data["test_images"][..., None], 4).terms[:, 0].astype(float)
    for rate in ("0.01", "0.05", "0.1"):
        p = [(1 + sum(s <= k for k in known["l1"])) / 301 for s in fresh]
        wanted = np.mean(np.array(p) <= float(rate))
        assert found["shares"][rate] == pytest.approx(wanted, abs=0.02)  # scores differ in rounding
    assert (found["term"], found["count"], found["images"]) == ("l1", 300, 60)
