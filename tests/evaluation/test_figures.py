"""Figures against numpy, on the oracle, whose every answer is known; and on a small run."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import mannwhitneyu

from bars import config, make_run, write_data
from export import features, parts
from export.errors import BadData
from export.evaluate import Asked, evaluate
from export.subjects import Subject, open_subject
from export.watching import Silent
from export.work import Work
from models.errors import DataError
from models.metrics.random_encoder import hidden_features
from models.training.loop import Run, read_data
from oracle import make_oracle, oracle_encode, oracle_reconstruct, oracle_score


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def run(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("runs") / "bars", folder)


@pytest.fixture(scope="module")
def oracle(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    size: dict[str, Any] = {"height": 16, "width": 16, "channels": 1, "block": 4}
    return open_subject(make_oracle(tmp_path_factory.mktemp("oracle"), **size))


@pytest.fixture(scope="module")
def figures(oracle: Subject, folder: Path) -> dict[str, Any]:
    against = str(folder / "noise.npz")
    return dict(evaluate(oracle, Asked(data=str(folder / "parts.npz"), against=against)).figures)


def arrays(folder: Path, name: str) -> dict[str, np.ndarray]:
    with np.load(folder / name) as found:
        return {key: found[key][..., None] if found[key].ndim == 3 else found[key] for key in found}


def accuracy(reference: np.ndarray, queries: np.ndarray, data: dict[str, np.ndarray]) -> float:
    reference, queries = (a.reshape(len(a), -1).astype(float) for a in (reference, queries))
    nearest = ((queries[:, None] - reference[None]) ** 2).sum(axis=2).argmin(axis=1)
    return float((data["train_labels"][nearest] == data["test_labels"]).mean())


def test_reconstruction_and_codes(figures: dict[str, Any], folder: Path) -> None:
    x = arrays(folder, "parts.npz")["test_images"]
    r = oracle_reconstruct(x, 4)
    assert figures["reconstruction"]["l1"] == pytest.approx(
        np.abs(x.astype(float) - r).mean() / 255
    )
    everyone = np.linalg.norm((x[:, None].astype(float) - r[None]).reshape(60, 60, -1), axis=2)
    other = (everyone.sum() - np.trace(everyone)) / (60 * 59)
    assert figures["reconstruction"]["own_to_other"] == pytest.approx(
        np.trace(everyone) / 60 / other, rel=0.1
    )
    codes = oracle_encode(x, 4)
    assert figures["codes"]["mean"] == pytest.approx(
        [codes.mean(axis=0).min(), codes.mean(axis=0).max()], abs=1e-6
    )
    assert figures["codes"]["std"] == pytest.approx(
        [codes.std(axis=0).min(), codes.std(axis=0).max()], abs=1e-6
    )


def test_neighbours(figures: dict[str, Any], folder: Path) -> None:
    data = arrays(folder, "parts.npz")
    train, test = data["train_images"], data["test_images"]
    found = figures["one_nn"]
    assert (found["references"], found["queries"]) == (120, 60)
    assert found["encoder"] == accuracy(oracle_encode(train, 4), oracle_encode(test, 4), data)
    assert found["pixels"] == accuracy(train, test, data)
    assert found["pca_size"] == 16
    assert found["pca"] > 0.9
    assert "random_encoder" not in found  # a bundle made by hand says nothing of its network
    assert any("no random encoder" in note for note in figures["notes"])


def test_anomalies(figures: dict[str, Any], folder: Path) -> None:
    normal = oracle_score(arrays(folder, "parts.npz")["test_images"], 4).terms
    other = oracle_score(arrays(folder, "noise.npz")["images"], 4).terms
    found = figures["anomaly"]
    assert (found["normal"], found["abnormal"], found["default"]) == (60, 50, "l1")
    for i, term in enumerate(("l1", "l2", "l2s", "cycle")):
        u = mannwhitneyu(other[:, i], normal[:, i]).statistic
        assert found["auroc"][term] == pytest.approx(u / 60 / 50, abs=1e-3), term
    assert found["pca_l2"] == 1  # noise is nothing that bars explain


def test_samples(figures: dict[str, Any]) -> None:
    found = figures["samples"]
    assert found["count"] == 2000
    assert found["classifier_accuracy"] > 0.95
    assert list(found["shares"]) == ["0", "1", "2"]
    assert sum(found["shares"].values()) == pytest.approx(1)
    assert found["largest_share"] == max(found["shares"].values())
    assert 0.3 < found["confidence_ratio"] <= 1.01


def test_a_run_and_its_seeds(run: Path, folder: Path) -> None:
    subject = open_subject(run)
    first, again = (
        evaluate(subject, Asked(data=str(folder / "parts.npz"))).figures for _ in range(2)
    )
    assert {**first, "seconds": 0} == {**again, "seconds": 0}
    other = evaluate(subject, Asked(data=str(folder / "parts.npz"), seed=1)).figures
    assert first["samples"]["shares"] != other["samples"]["shares"]
    assert 0.3 < first["one_nn"]["random_encoder"] <= 1
    pair, data = subject.pair, arrays(folder, "parts.npz")
    assert pair is not None
    train, test = (
        hidden_features(pair.encoder, data[key]) for key in ("train_images", "test_images")
    )
    assert train.shape[1] != subject.latent
    assert first["one_nn"]["hidden"] == accuracy(train, test, data)
    work = Work(
        subject, parts.read(subject, str(folder / "parts.npz"), watch=Silent()), 0, Silent()
    )
    seen = {space.key: space.encode(data["test_images"]) for space in features.hidden(work)}
    np.testing.assert_array_equal(seen["hidden"], test)
    assert np.abs(seen["random_hidden"] - test).max() > 0.1
    assert 0.3 < first["one_nn"]["random_hidden"] <= 1


def test_the_data_of_training_is_known_by_its_hash(run: Path, folder: Path) -> None:
    subject = open_subject(run)
    single = parts.read(subject, str(folder / "single.npz"), watch=Silent())
    assert single.train is not None
    assert (len(single.train), len(single.test)) == (90, 30)  # a quarter was held out
    assert "measured on what training held out" in single.notes[0]
    again = Run(run.parent / "never", config(folder / "single.npz"),
                read_data(config(folder / "single.npz")), torch.device("cpu"))  # fmt: skip
    assert np.array_equal(single.train.images, again.batches.items)
    both = np.concatenate([single.train.images, single.test.images])
    assert len(np.unique(both.reshape(120, -1), axis=0)) == 120  # no image is in both parts
    other = parts.read(subject, str(folder / "noise.npz"), watch=Silent())
    assert other.train is None
    assert "training may have seen" in other.notes[0]


def test_families_are_split_as_training_split_them(folder: Path, tmp_path: Path) -> None:
    with np.load(folder / "single.npz") as single:
        np.savez(tmp_path / "families.npz", **single, kin=np.arange(120) // 5)
    chosen = config(tmp_path / "families.npz").changed(["data.group=kin"])
    training = Run(tmp_path / "run", chosen, read_data(chosen), torch.device("cpu"))
    training.begin("biject train")
    for _ in training.steps():
        pass
    subject = open_subject(tmp_path / "run")
    found = parts.read(subject, str(tmp_path / "families.npz"), watch=Silent())
    assert found.train is not None
    assert (len(found.train), len(found.test)) == (90, 30)
    assert np.array_equal(found.train.images, training.batches.items)
    assert found.test.groups is not None
    assert sorted(found.test.groups.tolist()) == sorted(np.unique(found.test.groups).tolist() * 5)
    # other data need have no families
    assert len(parts.read(subject, str(folder / "parts.npz"), watch=Silent()).test) == 60
    figures = evaluate(subject, Asked(data=str(tmp_path / "families.npz"))).figures
    again = subject.run("reconstruct", found.train.images, watch=Silent())[1]
    wanted = np.abs(found.train.images.astype(float) - again).mean() / 255
    assert figures["reconstruction"]["trained_on"] == {"count": 90, "l1": pytest.approx(wanted)}
    other = evaluate(subject, Asked(data=str(folder / "parts.npz"), limit=40)).figures
    assert "trained_on" not in other["reconstruction"]  # a quarter of them was held out


def test_what_data_cannot_give_is_left_out_and_said(oracle: Subject, folder: Path) -> None:
    found = evaluate(oracle, Asked(data=str(folder / "bare.npz"))).figures
    assert found.keys().isdisjoint({"one_nn", "samples", "anomaly"})
    assert "pca" in found["reconstruction"]
    assert any(note.startswith("bare.npz has no labels") for note in found["notes"])
    found = evaluate(oracle, Asked(data=str(folder / "noise.npz"))).figures
    assert "pca" not in found["reconstruction"]
    assert "no test_images" in found["notes"][0]
    assert str(folder) not in found["notes"][0]  # it may travel in a manifest


def test_few_images_are_no_obstacle(oracle: Subject, folder: Path) -> None:
    found = evaluate(oracle, Asked(data=str(folder / "parts.npz"), limit=6)).figures
    assert found["data"]["test"] == 6
    assert any("too few images per class" in note for note in found["notes"])
    assert any(note.startswith("--limit 6: ") for note in found["notes"])
    report = evaluate(oracle, Asked(data=str(folder / "parts.npz"), limit=1))
    assert "own_to_other" not in report.figures["reconstruction"]
    assert (len(report.drawn.pairs), len(report.drawn.morphs)) == (2, 0)


def test_labels_of_two_parts_are_numbered_alike(oracle: Subject, tmp_path: Path) -> None:
    images = np.zeros((4, 16, 16), np.uint8)
    np.savez(
        tmp_path / "d.npz", train_images=images, test_images=images[:3],
        train_labels=np.array([3, 5, 7, 7]), test_labels=np.array([7, 5, 7]),
    )  # fmt: skip
    found = parts.read(oracle, str(tmp_path / "d.npz"), watch=Silent())
    assert found.train is not None
    assert found.classes == ("3", "5", "7")
    assert parts.labels_of(found.train).tolist() == [0, 1, 2, 2]
    assert parts.labels_of(found.test).tolist() == [2, 1, 2]


def test_what_is_no_subject_and_no_data(oracle: Subject, tmp_path: Path) -> None:
    with pytest.raises(BadData, match="neither a run"):
        open_subject(tmp_path)
    with pytest.raises(DataError, match="no data at"):
        evaluate(oracle, Asked(data=str(tmp_path / "nothing")))
    with pytest.raises(DataError, match="no data at"):
        parts.read_abnormal(oracle, str(tmp_path / "nothing"), watch=Silent())
