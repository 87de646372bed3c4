"""The report on recorded benchmarks, and servers as processes."""

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from PIL import Image

from benchmarks import report, wrk
from benchmarks.processes import Reading, family, free_port, running, spent
from benchmarks.records import ROOT, Records
from serving.throughput import GRAPHS


def test_the_document_is_what_the_records_say() -> None:
    written = report.DOCUMENT.read_text(encoding="utf-8")
    assert written == report.document(), "run python -m benchmarks.report"


@pytest.fixture
def recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Records of all benchmarks, made up; the folder that the report writes to."""
    monkeypatch.setattr("benchmarks.records.RESULTS", tmp_path / "results")
    monkeypatch.setattr(report, "DOCUMENT", tmp_path / "benchmarks.md")
    monkeypatch.setattr(report, "PICTURES", tmp_path / "images")
    common: dict[str, Any] = {"others": 0.1}
    for graph in GRAPHS:
        for batch in (1, 64):
            Records("engine", "r").append(
                graph=graph, batch=batch, raw_images=100.0, engine_images=90.0,
                batcher_images=95.0, engine_to_raw=0.9, batcher_to_raw=0.95, raw_setting="2 x 1",
                raw_per_cpu_second=50.0, batcher_per_cpu_second=49.0, **common,
            )  # fmt: skip
    http = {"errors": {}, "p50": 1.0, "p90": 2.0, "p99": 3.0, "max": 4.0, "round": 0}
    for server, rate in (("biject", 300.0), ("biject --bare", 400.0), ("LitServe", 100.0)):
        for connections in (1, 64):
            Records("serve_http", "r").append(
                server=server, workload="jpeg", connections=connections, good_per_second=rate,
                images_per_second=rate, images_per_cpu_second=rate / 2, **http, **common,
            )  # fmt: skip
    for factor in (1, 4):
        Records("overload", "r").append(
            server="biject", factor=factor, offered=100.0 * factor, goodput=100.0,
            statuses={"200": 100, "429": 300}, failures={}, unsent=0, late_ms=1.0, deadline_ms=500,
            latency_ms={"2xx": {"p50": 5.0, "p99": 50.0}}, **common,
        )  # fmt: skip
    return tmp_path


def test_it_writes_a_section_and_a_picture_for_each_benchmark(recorded: Path) -> None:
    result = CliRunner().invoke(report.main, [], catch_exceptions=False)
    assert result.exit_code == 0
    text = (recorded / "benchmarks.md").read_text()
    for title in ("## Engine", "## Over HTTP", "## Overload"):
        assert title in text
    assert "| biject | 64 | 300 | 300 | 1.0 | 3.0 | 150 | 0 |" in text
    assert "| one JPEG, 64 connections: biject / LitServe | 3.00 | >= 3 | holds |" in text
    assert "of the cores, at most 10%" in text
    for name in ("engine", "serve-http", "overload"):
        with Image.open(recorded / "images" / f"benchmark-{name}.png") as image:
            assert min(image.size) > 300


def test_a_benchmark_without_records_has_no_section(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmarks.records.RESULTS", tmp_path)
    assert report.document() == report.HEAD


def test_a_server_is_started_measured_and_ended(tmp_path: Path) -> None:
    port = free_port()
    command = [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1"]
    how: dict[str, Any] = {"port": port, "cwd": tmp_path, "environ": {}, "log": tmp_path / "log"}
    reading = Reading.now()
    with running(command, ready="/", **how) as server:
        before = server.cpu_seconds()
        assert server.pid in before
        assert spent(before, server.cpu_seconds()) >= 0
        members = family(server.pid)
    time.sleep(0.05)
    assert not any(Path(f"/proc/{pid}").exists() for pid in members)
    assert 0 <= reading.others() <= 1.2
    with (
        pytest.raises(RuntimeError, match="did not come up"),
        running([sys.executable, "-c", "print('no')"], ready="/", **how),
    ):
        pass
    assert "no" in (tmp_path / "log").read_text()


@pytest.mark.parametrize(
    "name",
    [
        "engine",
        pytest.param("serve_http", marks=pytest.mark.skipif(not wrk.there(), reason="no wrk here")),
        "overload",
    ],
)
def test_a_name_that_is_not_known_is_refused(name: str) -> None:
    command = [sys.executable, "-m", f"benchmarks.{name}", "--only", "nobody"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "no 'nobody' here" in done.stderr


@pytest.mark.parametrize("name", ["engine", "serve_http", "overload", "report"])
def test_every_script_tells_how_it_is_used(name: str) -> None:
    command = [sys.executable, "-m", f"benchmarks.{name}", "--help"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
