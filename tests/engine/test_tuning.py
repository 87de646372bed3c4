"""The cost table is measured on the real engine, kept, and used again only where it is true."""

import json
import logging
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from oracle import make_oracle
from serving import tuning
from serving.bundle import read
from serving.costs import Costs
from serving.engine import Engine

GRAPHS = {"encode", "decode", "reconstruct", "score"}


@pytest.fixture
def engine(oracle_bundle: Path) -> Engine:
    return Engine(read(oracle_bundle), device="cpu", threads=2)


class Paced(Engine):
    """Takes 4 ms a batch and 1 ms a row, more exactly than any real graph."""

    def run(self, graph: str, inputs: Sequence[Any]) -> list[Any]:
        time.sleep(0.004 + 0.001 * len(inputs[0]))
        return super().run(graph, inputs)


def test_every_graph_is_measured_on_every_thread(engine: Engine) -> None:
    costs = tuning.measure(engine)
    assert costs.points.keys() == GRAPHS
    assert costs.buckets == ()
    for points in costs.points.values():
        assert min(points) == 1
        assert all(seconds > 0 for seconds in points.values())


def test_what_is_measured_is_what_it_takes(oracle_bundle: Path) -> None:
    engine = Paced(read(oracle_bundle), device="cpu", threads=1)
    costs = tuning.measure(engine, budget=0.8)
    points = costs.points["encode"]
    for rows, seconds in points.items():
        paced = 0.004 + 0.001 * rows
        assert 0.9 * paced < seconds < 4 * paced  # never quicker than it sleeps
    assert 4 <= max(points) < 128  # 0.2 s for each graph are not enough for all sizes


def test_the_budget_is_kept(oracle_bundle: Path) -> None:
    engine = Paced(read(oracle_bundle), device="cpu", threads=2)
    begin = time.monotonic()
    tuning.measure(engine, budget=0.8)
    assert (
        time.monotonic() - begin < 6.0
    )  # all sizes, as often, are 40; the first size of each is measured in any case


def test_with_buckets_each_is_measured(oracle_bundle: Path) -> None:
    engine = Engine(read(oracle_bundle), device="cpu", threads=1, buckets=(2, 4, 32))
    costs = tuning.measure(engine)
    assert all(set(points) == {2, 4, 32} for points in costs.points.values())
    assert costs.buckets == (2, 4, 32)


class Small(Engine):
    """Has memory for ten rows at once."""

    def run(self, graph: str, inputs: Sequence[Any]) -> list[Any]:
        if len(inputs[0]) > 10:
            raise RuntimeError("Failed to allocate memory")
        return super().run(graph, inputs)


def test_sizes_that_fail_are_left_out(
    oracle_bundle: Path, caplog: pytest.LogCaptureFixture
) -> None:
    costs = tuning.measure(Small(read(oracle_bundle), device="cpu", threads=2))
    assert all(set(points) == {1, 2, 4, 8} for points in costs.points.values())
    assert "encode fails on 16 rows" in caplog.text
    with pytest.raises(RuntimeError):
        tuning.measure(Small(read(oracle_bundle), device="cpu", buckets=(2, 16)))


def test_a_table_is_measured_once(engine: Engine, tmp_path: Path) -> None:
    first = tuning.costs_of(engine, tmp_path)
    (file,) = tmp_path.iterdir()
    kept = json.loads(file.read_text())
    kept["points"]["encode"] = {"1": 7.0}  # so that a table from the file can be told
    file.write_text(json.dumps(kept))
    second = tuning.costs_of(engine, tmp_path)
    assert second.points["encode"] == {1: 7.0}
    assert second.points["score"] == first.points["score"]


def test_another_model_thread_number_or_bucket_has_its_own_table(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    for name, options, block in (
        ("one", {"threads": 1}, 2),
        ("one", {"threads": 2}, 2),
        ("one", {"threads": 1, "buckets": (4,)}, 2),
        ("other", {"threads": 1}, 4),
    ):
        folder = tmp_path / name
        path = folder / "oracle" / "1"
        if not path.exists():
            make_oracle(folder, block=block)
        tuning.costs_of(Engine(read(path), device="cpu", **options), cache)
    assert len(list(cache.iterdir())) == 4


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", '{"points": {"encode": {"1": 0.1}}}', '{"points": {"encode": {"x": 0.1}}}'],
)
def test_a_damaged_table_is_measured_again(
    engine: Engine, tmp_path: Path, content: str, caplog: pytest.LogCaptureFixture
) -> None:
    tuning.costs_of(engine, tmp_path)
    (file,) = tmp_path.iterdir()
    file.write_text(content)
    with caplog.at_level(logging.WARNING):
        assert tuning.costs_of(engine, tmp_path).points.keys() == GRAPHS
    assert "cannot be used" in caplog.text
    assert json.loads(file.read_text())["points"].keys() == GRAPHS


def test_without_a_place_to_keep_it_the_table_is_measured_all_the_same(
    engine: Engine, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way")
    costs = tuning.costs_of(engine, tmp_path / "file" / "below")
    assert costs.points.keys() == GRAPHS


@pytest.mark.skipif(os.name != "posix", reason="XDG is for POSIX systems")
def test_the_users_cache_is_where_the_system_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert tuning.cache_folder() == Path("/somewhere/biject/costs")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert tuning.cache_folder() == Path.home() / ".cache/biject/costs"


def test_padding_does_not_change_answers(oracle_bundle: Path) -> None:
    bundle = read(oracle_bundle)
    plain = Engine(bundle, device="cpu")
    bucketed = Engine(bundle, device="cpu", buckets=(4, 16))
    images = np.random.default_rng(0).integers(0, 256, (20, 8, 8, 3), np.uint8)
    for rows in (1, 4, 5, 16, 20):
        for graph in ("encode", "reconstruct", "score"):
            wanted, got = plain.run(graph, [images[:rows]]), bucketed.run(graph, [images[:rows]])
            for a, b in zip(wanted, got, strict=True):
                np.testing.assert_array_equal(a, b)


def test_a_table_needs_all_graphs() -> None:
    with pytest.raises(ValueError, match="positive"):
        Costs(points={"encode": {}})
