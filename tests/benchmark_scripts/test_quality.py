"""The benchmark of quality: figures by hand, cases that do not leak, tables of what there is."""

import gzip
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from benchmarks import quality, quality_sources, quality_tables
from benchmarks.quality_methods import METHODS, _aggregated
from benchmarks.quality_sources import Case, Sides
from benchmarks.records import Records
from models.datasets.dataset import fingerprints
from models.metrics.ssim import ssim


def sides(items: Any, abnormal: Any, count: Any = None) -> Sides:
    number = len(abnormal)
    repeats = np.ones(number, np.int64) if count is None else np.array(count)
    return Sides(
        items=np.asarray(items, np.float32),
        abnormal=np.array(abnormal, bool),
        count=repeats,
        fresh=np.ones(number, bool),
    )


def test_figures_by_hand() -> None:
    # as they occur: normal 1 1 1 4, abnormal 3 5; of the two highest, 5 and 4, one is abnormal
    scores = np.array([1.0, 4.0, 3.0, 5.0])
    given = sides(np.zeros((4, 1)), [False, False, True, True], [3, 1, 1, 1])
    found = quality.told_apart(scores, given, 2.0)
    assert (found["normal"], found["abnormal"]) == (4, 2)
    assert found["auroc"] == 7 / 8
    assert found["f1"] == 0.5
    # above 2: 4, 3 and 5
    assert found["f1_calibrated"] == pytest.approx(4 / 5)
    assert found["fpr_calibrated"] == 0.25
    assert quality.told_apart(scores, given, None)["f1_calibrated"] == 0


@pytest.fixture
def case(tmp_path: Path) -> Case:
    """A table like KDD's, of 600 rows, every one of which is there twice or more."""
    folder = tmp_path / "tabular"
    folder.mkdir()
    (folder / "kddcup_columns.txt").write_text("a\nb\nflag\nlabel\n")
    rng = np.random.default_rng(0)
    rows = []
    for i in range(300):
        label = "normal." if i % 5 == 0 else "smurf."
        far = 30.0 if label == "normal." else 0.0
        row = f"{rng.integers(9) + far},{rng.integers(9)},SF,{label}\n"
        rows += [row, row]
    (folder / "kddcup.data_10_percent.gz").write_bytes(gzip.compress("".join(rows).encode()))
    return next(iter(quality_sources.kdd(tmp_path)))


def test_a_case_keeps_its_parts_apart(case: Case) -> None:
    assert case.columns == ("a", "b", "flag=SF")
    assert (case.train[:, 0] < 30).all()
    assert not case.test.abnormal[case.test.items[:, 0] < 30].any()
    assert case.test.count.sum() == 300
    assert len(np.unique(case.test.items, axis=0)) == len(case.test.items)
    known = np.concatenate([case.train, case.valid.items])
    seen = np.isin(fingerprints(case.test.items), fingerprints(known))
    assert (seen == ~case.test.fresh).all()
    assert seen.any()
    assert case.valid.abnormal.any()
    assert not case.valid.abnormal.all()


@pytest.mark.parametrize("method", ["PCA", "isolation forest", "1-NN"])
def test_baselines_see_what_is_far(case: Case, method: str) -> None:
    found = quality.figures(replace(case, components=(1,)), method)
    assert found["test"]["auroc"] > 0.7
    assert found["distinct"]["normal"] + found["distinct"]["abnormal"] == case.test.fresh.sum()


def test_what_is_there_is_not_measured_again(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmarks.records.RESULTS", tmp_path / "results")
    asked: list[str] = []

    def figures(one: Case, method: str) -> dict[str, Any]:
        asked.append(method)
        told = {"auroc": 0.9, "f1": 0.8, "f1_calibrated": 0.7, "fpr_calibrated": 0.05,
                "average_precision": 0.6, "normal": 10, "abnormal": 2}  # fmt: skip
        valid = {"bigan": 0.8, "alad": 0.9}.get(method, 0.5)
        return {"term": "l2", "valid_auroc": valid, "trained": valid > 0.5, "test": told}

    monkeypatch.setattr(quality, "figures", figures)
    for methods in (["PCA"], ["PCA", "bigan"], list(METHODS)):
        quality.measure(Records("quality", "r"), [case], methods, None)
    assert asked == ["PCA", "bigan", "isolation forest", "1-NN", "alad"]
    records = Records("quality", "r").own()
    text = quality_tables.tables(records)
    assert "10 normal, 2 abnormal" in text
    assert quality_tables.CHOSEN in text
    partial = quality_tables.tables(records[:2])
    assert "PCA" in partial
    assert quality_tables.CHOSEN not in partial
    done = CliRunner().invoke(quality.main, ["--table", "--run", "r"])
    assert done.exit_code == 0, done.output
    assert "0.9000" in done.output


def test_pairs_are_held_against_pca_in_words_and_by_class() -> None:
    reached = {"PCA": (0.9, 0.8), "aae": (0.95, 0.75)}
    records: list[dict[str, Any]] = [
        {"set": "MNIST", "part": f"class {i}", "method": method, "trained": method == "aae",
         "term": "l2s", "valid_auroc": 0.5, "date": "d", "device": "x", "run": "r", "commit": "c",
         "how": {}, "test": {"auroc": auroc[i], "f1": 0.7 + i / 10, "f1_calibrated": 0.5,
         "fpr_calibrated": 0.05, "average_precision": 0.6, "normal": 10 + 2 * i, "abnormal": 2}}
        for method, auroc in reached.items() for i in range(2)
    ]  # fmt: skip
    text = quality_tables.document(records, [])
    assert "| normal class | 0 | 1 |" in text
    assert "| aae | 0.950 | 0.750 |" in text
    assert "11 normal, 2 abnormal" in text
    said = "MNIST, aae: AUROC 0.8500, equal to PCA's 0.8500, better in 1 of 2; F1 0.7500, equal to"
    assert said in text
    records[-1]["test"]["auroc"] = 0.6
    assert "AUROC 0.7750, worse than PCA's 0.8500, better in 1 of 2" in quality_tables.document(
        records, []
    )


def test_pca_has_the_aggregators_of_the_score_graph() -> None:
    x, again = np.random.default_rng(0).random((2, 2, 12, 13, 3)).astype(np.float32)
    d = x - again
    smooth = np.empty_like(d)
    for i in range(12):
        for j in range(13):
            around = d[:, max(0, i - 1) : i + 2, max(0, j - 1) : j + 2]
            smooth[:, i, j] = around.mean(axis=(1, 2))
    found = _aggregated(x, again)
    np.testing.assert_allclose(found["l2s"], np.square(smooth).mean(axis=(1, 2, 3)), rtol=1e-5)
    np.testing.assert_allclose(found["l1"], np.abs(d).mean(axis=(1, 2, 3)), rtol=1e-5)
    levels = [np.rint(each * 255).astype(np.uint8) for each in (x, again)]
    known = ssim(images=levels[0], reconstructions=levels[1])
    np.testing.assert_allclose(found["ssim"], 1 - known, atol=0.01)
    assert set(_aggregated(x[:, 0, 0], again[:, 0, 0])) == {"l1", "l2"}


def test_the_document_is_what_the_records_say() -> None:
    written = quality_tables.DOCUMENT.read_text(encoding="utf-8")
    records = Records("quality", "quality").own()
    tiles = Records("inspection").last()
    assert written == quality_tables.document(records, tiles), (
        "run python -m benchmarks.quality --write"
    )
