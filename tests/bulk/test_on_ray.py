"""The same command on a Ray cluster of two workers: the same rows, whatever dies meanwhile."""

import importlib.util
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bulk.runs import archive, begun, environ, finished, run
from server_process import until

ROWS = 60_000
_WAIT_S = 120.0
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed"),
]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images, and one file that is none."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "bad.png").write_bytes(b"no image")
    return archive(folder / "a.npz", ROWS)


@pytest.fixture(scope="module")
def wanted(oracle_bundle: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> pa.Table:
    """What this machine makes of them."""
    out = tmp_path_factory.mktemp("wanted") / "z.parquet"
    ended = run("encode", oracle_bundle, data, data.parent / "bad.png", "--out", out)
    assert ended.returncode == 0, ended.stderr
    return pq.read_table(out)


@contextmanager
def cluster() -> Iterator["subprocess.Popen[str]"]:
    process = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("ray_cluster.py"))],
        env=environ() | {"RAY_USAGE_STATS_ENABLED": "0"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        assert process.stdin is not None
        process.stdin.close()
        process.wait(60)
        assert process.stdout is not None
        process.stdout.close()


def address(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_a_cluster_gives_the_rows_of_one_machine_though_a_worker_dies(
    oracle_bundle: Path, data: Path, wanted: pa.Table, tmp_path: Path
) -> None:
    with cluster() as nodes:
        where = address(nodes)
        whole, torn = tmp_path / "whole.parquet", tmp_path / "torn.parquet"
        arguments = ("encode", oracle_bundle, data, data.parent / "bad.png", "--ray", where)
        ended = run(*arguments, "--out", whole)
        assert ended.returncode == 0, ended.stderr
        assert ended.stdout == (
            f"{whole}: latents of {ROWS} images, 1 more cannot be read: see the column error\n"
        )
        assert pq.read_table(whole).equals(wanted)

        with begun(*arguments, "--out", torn) as process:  # the command itself dies
            until(lambda: finished(torn) >= 2, _WAIT_S)
            process.send_signal(signal.SIGKILL)
        assert not torn.exists()
        with begun(*arguments, "--out", torn) as process:  # and then a worker does
            before = finished(torn)
            until(lambda: finished(torn) >= before + 5, _WAIT_S)
            assert nodes.stdin is not None
            nodes.stdin.write("kill\n")
            nodes.stdin.flush()
            assert address(nodes) == "killed"
            assert not torn.exists()  # or it died too late
            out, said = process.communicate(timeout=_WAIT_S)
        assert process.returncode == 0, said
        assert f"latents of {ROWS} images" in out
        assert pq.read_table(torn).equals(wanted)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["torn.parquet", "whole.parquet"]


def test_no_cluster_is_said_in_a_sentence(oracle_bundle: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "z.parquet"
    ended = run("encode", oracle_bundle, data, "--out", out, "--ray", "127.0.0.1:1")
    assert ended.returncode == 2, ended.stderr
    assert "no Ray cluster at 127.0.0.1:1" in ended.stderr
