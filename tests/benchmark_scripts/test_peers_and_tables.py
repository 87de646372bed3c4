"""The servers that are compared: they parse, what they install is pinned, they are asked right."""

import ast
import base64
import io
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from click import ClickException
from PIL import Image

from benchmarks import serve_http_tables as http
from benchmarks import wrk
from benchmarks.overload import summaries, targets
from benchmarks.records import Record, Records, commit
from benchmarks.serve_http import WORKLOADS
from benchmarks.servers import DOUBLE, PEERS, SERVERS, Floats, Server
from serving.images import ImageSpec
from serving.load.bodies import synthetic

FOLDERS = sorted(path.parent for path in PEERS.glob("*/server.py"))
IMAGES = synthetic(ImageSpec(height=32, width=32, channels=1))
LATENTS = np.random.default_rng(0).standard_normal((3, 64)).astype("<f4")


def test_every_peer_has_a_folder_and_every_folder_a_peer() -> None:
    assert {server.peer for server in SERVERS} - {None} == {path.name for path in FOLDERS}
    names = {server.name.removesuffix(DOUBLE) for server in SERVERS}
    assert names == {http.OURS, http.BARE, *http.PEERS}


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.name)
def test_a_peers_server_parses_and_its_requirements_are_exact(folder: Path) -> None:
    ast.parse((folder / "server.py").read_text())
    for file in folder.glob("*.json"):
        json.loads(file.read_text())
    lines = (folder / "requirements.txt").read_text().splitlines()
    assert [line for line in lines if not re.fullmatch(r"[\w.-]+==[\w.]+", line)] == []


def test_all_compute_by_the_same_onnxruntime_on_the_same_pixels() -> None:
    for name in ("onnxruntime", "pillow", "numpy"):
        pins = {
            line
            for folder in FOLDERS
            for line in (folder / "requirements.txt").read_text().splitlines()
            if line.partition("==")[0] == name
        }
        assert len(pins) == 1, pins


@pytest.mark.parametrize("server", SERVERS, ids=lambda server: server.name)
def test_a_workload_is_known_and_its_request_can_be_made(server: Server) -> None:
    for workload, call in server.calls.items():
        assert workload in WORKLOADS
        body = call.body(IMAGES[:3])
        assert isinstance(body, bytes)
        if call.content_type == "application/json":
            json.loads(body)
        elif call.content_type == "image/jpeg":
            with Image.open(io.BytesIO(body)) as image:
                assert (image.format, image.mode, image.size) == ("JPEG", "L", (32, 32))


@pytest.mark.parametrize("server", SERVERS, ids=lambda server: server.name)
def test_latents_are_read_out_of_each_kind_of_answer(server: Server) -> None:
    npy = io.BytesIO()
    np.save(npy, LATENTS)
    output = {"data": LATENTS.ravel().tolist(), "shape": [3, 64]}
    answers = (
        npy.getvalue(),
        LATENTS.tobytes(),
        json.dumps(LATENTS.tolist()).encode(),
        json.dumps({"latents": LATENTS.tolist()}).encode(),
        json.dumps({"latents": base64.b64encode(LATENTS.tobytes()).decode()}).encode(),
        json.dumps({"outputs": [output]}).encode(),
    )
    for call in server.calls.values():
        if call.latents is not None:
            assert any(_equal(call.latents, answer) for answer in answers)


def _equal(latents: Callable[[bytes], Floats], answer: bytes) -> bool:
    try:
        return bool(np.allclose(latents(answer), LATENTS, atol=1e-6))
    except Exception:  # another server's kind of answer
        return False


def test_what_wrk_says_is_read() -> None:
    told = {"requests": 100, "microseconds": 2e6, "status": 4, "connect": 0, "read": 1, "write": 0,
            "timeout": 0, "p50": 1500.0, "p90": 2e3, "p99": 3e3, "max": 4e3}  # fmt: skip
    load = wrk._read(told)
    assert (load.good, load.seconds) == (96, 2)
    assert load.errors == {"status": 4, "read": 1}
    assert load.latency_ms == {"p50": 1.5, "p90": 2, "p99": 3, "max": 4}


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where records go during a test."""
    monkeypatch.setattr("benchmarks.records.RESULTS", tmp_path / "results")
    return tmp_path / "results"


def test_records_are_appended_found_again_and_kept_apart(results: Path) -> None:
    first, second = Records("x", "one"), Records("x", "two")
    assert first.last() == []
    first.append(server="a", round=0)
    assert first.has(server="a", round=0)
    assert not first.has(server="a", round=1)
    assert not second.has(server="a")
    second.append(server="b")
    assert [record["server"] for record in first.own()] == ["a"]
    assert [record["server"] for record in Records("x", "three").last()] == ["b"]


def test_what_was_measured_in_another_way_is_another_measurement(results: Path) -> None:
    quick, long = Records("x", "r", how={"seconds": 1.0}), Records("x", "r", how={"seconds": 5.0})
    quick.append(server="a")
    assert not long.has(server="a")
    long.append(server="b")
    assert [record["server"] for record in quick.own()] == ["a"]
    assert [record["server"] for record in Records("x").of_run("r")] == ["b"]
    assert [record["server"] for record in Records("x").last()] == ["b"]


def servers_of(records: Sequence[Record]) -> str:
    return " ".join(record["server"] for record in records)


def test_tables_say_whose_they_are_and_nothing_measured_is_an_error(results: Path) -> None:
    Records("x", "one", how={"seconds": 5.0}).append(server="a")
    for run in ("one", "two"):
        fresh = Records("x", run, quiet=0.1, how={"seconds": 5.0})
        assert not fresh.has(server="c")
        fresh.append(server="c", others=0.5)  # disturbed
        with pytest.raises(ClickException, match=f"nothing was measured in this run, {run}"):
            fresh.told(servers_of, only_table=False, last=True)
    again = Records("x", "one", how={"seconds": 5.0})
    assert again.has(server="a")
    again.append(server="b")
    head = f"run one, commit {commit()} (seconds 5)"
    assert again.told(servers_of, only_table=False, last=False) == f"{head}\n\na b"
    two = Records("x", "two")
    assert two.told(servers_of, only_table=True, last=True) == f"{head}\n\na b"
    with pytest.raises(ClickException, match="nothing was recorded in this run, two"):
        two.told(servers_of, only_table=True, last=False)


def answered(server: str, rate: float, *, turn: int = 0, workload: str = "jpeg") -> Record:
    connections = 8 if workload == "score" else 64
    return {
        **{"server": server, "workload": workload, "connections": connections, "round": turn},
        **{"good_per_second": rate, "images_per_second": 64 * rate, "p50": 1, "p99": 2},
        **{"images_per_cpu_second": 32 * rate, "errors": {}},
    }


def test_ratios_are_of_medians_and_targets_are_judged() -> None:
    records = [answered("biject", rate, turn=turn) for turn, rate in enumerate((900, 3000, 3300))]
    records += [answered("LitServe", 1000), answered("FastAPI def", 2400)]
    records += [answered("biject", 90, workload="score")]
    records += [
        {"graph": "score", "setting": name, "images_per_second": speed,
         "images_per_cpu_second": speed / 2}
        for name, speed in (("1 x 1", 4000), ("2 x 1", 6400))
    ]  # fmt: skip
    found = {one.words: one for one in http.targets(http.Medians(records))}
    one = "one JPEG, 64 connections: biject"
    assert found[f"{one} / LitServe"][1:] == (3.0, 3)
    assert found[f"{one} / LitServe"].verdict == "holds"
    assert found[f"{one} / best peer"].ratio == pytest.approx(1.25)
    assert found[f"{one} / best peer"].verdict == "missed"
    assert found[f"{one} / bare"].verdict == "not measured"
    score = "64 raw images to score: biject / raw session"
    assert found[f"{score}, images/s"].ratio == pytest.approx(0.9)
    assert found[f"{score}, images/CPU-s"].ratio == pytest.approx(0.9)
    assert "900" not in http.printed(records).split("LitServe")[0]


def overloaded(factor: float, goodput: float, statuses: dict[str, int], p99: float) -> Record:
    return {
        **{"server": "biject", "factor": factor, "offered": factor * 100, "goodput": goodput},
        **{"statuses": statuses, "failures": {}, "unsent": 0, "late_ms": 1.0, "deadline_ms": 1000},
        "latency_ms": {"2xx": {"p50": 1.0, "p99": p99}},
    }


def test_overload_is_judged_at_four_times_the_capacity() -> None:
    records = [
        overloaded(1, 100, {"200": 1000}, 50),
        overloaded(4, 85, {"200": 850, "429": 3000, "504": 10, "500": 1}, 900),
    ]
    assert [one["share"] for one in summaries(records)] == [1, 0.85]
    found = targets(records)
    assert [one.holds for one in found] == [False, False, False, True, True]
    assert found[1].measured == "1.16%"  # of the 860 that were admitted
    good = [records[0], overloaded(4, 95, {"200": 4000, "429": 3000, "504": 3}, 999)]
    assert [one.holds for one in targets(good)] == [True] * 5


def test_overload_is_judged_by_its_worst_round() -> None:
    fine = overloaded(4, 95, {"200": 950, "429": 3000}, 50)
    late = overloaded(4, 95, {"200": 950, "429": 3000, "504": 50}, 1200)
    found = targets([fine, fine, {**late, "unsent": 7}])
    assert [one.holds for one in found] == [True, False, True, False, False]
    assert [one.measured for one in found[1:]] == ["5.00%", "0", "7 not", "1200 ms"]
    nothing = {**overloaded(4, 0, {"429": 3000}, 0), "latency_ms": {}}
    assert not targets([fine, nothing])[-1].holds
