"""A run that is killed, stopped or disturbed: the same command goes on, and no row is lost."""

import contextlib
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from bulk.runs import archive, begun, command, environ, finished, pictures, run
from server_process import until

ROWS = 20_000
PARTS = 20  # of 1,024 rows
_WAIT_S = 60.0


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return archive(tmp_path_factory.mktemp("data") / "a.npz", ROWS)


@pytest.fixture(scope="module")
def wanted(oracle_bundle: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> pa.Table:
    """What a run gives that nothing happens to."""
    out = tmp_path_factory.mktemp("wanted") / "z.parquet"
    ended = run("encode", oracle_bundle, data, "--out", out)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == f"{out}: latents of {ROWS} images\n"
    table = pq.read_table(out)
    assert table["path"].to_pylist() == [f"{data}/{i}" for i in range(ROWS)]
    assert table["code"].null_count == 0
    return table


def test_a_killed_run_goes_on_without_a_lost_or_a_doubled_row(
    oracle_bundle: Path, data: Path, wanted: pa.Table, tmp_path: Path
) -> None:
    out = tmp_path / "z.parquet"
    arguments = ("encode", oracle_bundle, data, "--out", out)
    folder = tmp_path / "z.parquet.parts"
    children: list[psutil.Process] = []
    for parts in (0, 3, 7):  # killed while it lists or begins, and twice in the middle
        with begun(*arguments) as process:
            until(folder.exists, _WAIT_S)
            until(lambda n=parts: finished(out) >= n, _WAIT_S)  # type: ignore[misc]
            children += psutil.Process(process.pid).children(recursive=True)
            process.send_signal(signal.SIGKILL)
            process.wait()
        assert not out.exists()
    assert children
    psutil.wait_procs(children, timeout=10)
    assert not any(child.is_running() for child in children)  # nobody decodes for the dead
    before = finished(out)
    assert 7 <= before < PARTS
    ended = run(*arguments)
    assert ended.returncode == 0, ended.stderr
    assert f"going on: {before * 1024:,} images are done" in ended.stderr
    assert ended.stdout == f"{out}: latents of {ROWS} images\n"
    assert pq.read_table(out).equals(wanted)
    assert [path.name for path in tmp_path.iterdir()] == ["z.parquet"]
    again = run(*arguments)
    assert (again.returncode, again.stdout) == (
        0,
        f"{out}: done already; remove it to begin anew\n",
    )


def test_what_a_kill_can_leave_is_gone_over_again(
    oracle_bundle: Path, wanted: pa.Table, data: Path, tmp_path: Path
) -> None:
    """A damaged part, half of a list, the folder of an answer that is there."""
    out = tmp_path / "z.parquet"
    parts = tmp_path / "z.parquet.parts"
    arguments = ("encode", oracle_bundle, data, "--out", out)
    parts.mkdir()
    (parts / "lock").touch()
    (parts / ".inputs.parquet.1.tmp").write_bytes(b"PAR1")
    with begun(*arguments) as process:
        until(lambda: finished(out) >= 3, _WAIT_S)
        process.send_signal(signal.SIGKILL)
    (parts / "00000001.parquet").write_bytes(b"PAR1 and no more")
    (parts / ".00000002.parquet.1.tmp").write_bytes(b"PAR1")
    ended = run(*arguments)
    assert ended.returncode == 0, ended.stderr
    assert pq.read_table(out).equals(wanted)
    parts.mkdir()
    (parts / "00000000.parquet").write_bytes(b"left by a kill while it was tidied up")
    ended = run(*arguments)
    assert (ended.returncode, "done already" in ended.stdout) == (0, True)
    assert not parts.exists()


def test_ctrl_c_finishes_a_part_and_says_how_to_go_on(
    oracle_bundle: Path, data: Path, wanted: pa.Table, tmp_path: Path
) -> None:
    out = tmp_path / "z.parquet"
    arguments = ("encode", oracle_bundle, data, "--out", out)
    with begun(*arguments) as process:
        until(lambda: finished(out) >= 2, _WAIT_S)
        process.send_signal(signal.SIGSTOP)  # or it might be done before another has begun
        ended = run(*arguments)
        assert ended.returncode == 2
        assert "another process works at" in ended.stderr
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGCONT)
        _, said = process.communicate(timeout=_WAIT_S)
    assert process.returncode == 130
    assert "finishing the part in work" in said
    done = finished(out) * 1024
    assert f"stopped after {done:,} of {ROWS:,} images; the same command goes on" in said
    assert "Traceback" not in said
    assert run(*arguments).returncode == 0
    assert pq.read_table(out).equals(wanted)


def test_a_second_signal_stops_at_once_and_what_is_done_is_kept(
    oracle_bundle: Path, data: Path, wanted: pa.Table, tmp_path: Path
) -> None:
    out = tmp_path / "z.parquet"
    arguments = ("encode", oracle_bundle, data, "--out", out)
    with begun(*arguments) as process:
        until(lambda: finished(out) >= 2, _WAIT_S)
        process.send_signal(signal.SIGSTOP)  # so that both wait when it goes on
        before = finished(out)
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGCONT)
        _, said = process.communicate(timeout=_WAIT_S)
    assert process.returncode == 130
    assert before <= finished(out) <= before + 1  # that which was being written
    assert f"stopped after {finished(out) * 1024:,} of {ROWS:,} images" in said
    assert "Traceback" not in said
    assert run(*arguments).returncode == 0
    assert pq.read_table(out).equals(wanted)


def test_ctrl_c_at_a_terminal_leaves_those_alone_that_begin_to_decode(
    oracle_bundle: Path, data: Path, wanted: pa.Table, tmp_path: Path
) -> None:
    """It goes to all processes of the command; they end when the first says so."""
    out = tmp_path / "z.parquet"
    with begun("encode", oracle_bundle, data, "--out", out) as process:
        first = psutil.Process(process.pid)
        until(lambda: bool(decoders(first)), _WAIT_S)
        for one in decoders(first):
            one.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=_WAIT_S)
    assert process.returncode == 0, said
    assert pq.read_table(out).equals(wanted)


def decoders(command: psutil.Process) -> list[psutil.Process]:
    with contextlib.suppress(psutil.NoSuchProcess):
        return [one for one in command.children() if "spawn_main" in " ".join(one.cmdline())]
    return []


def test_a_full_disk_is_said_and_what_is_done_is_kept(
    oracle_bundle: Path, data: Path, wanted: pa.Table, tmp_path: Path
) -> None:
    """No file may have more than a megabyte or two: the parts have less, and the answer more."""
    out = tmp_path / "z.parquet"
    arguments = ("encode", oracle_bundle, data, "--out", out)

    def limited(blocks: int) -> "subprocess.CompletedProcess[str]":
        full = ["sh", "-c", f'ulimit -f {blocks}; exec "$@"', "sh", *command(*arguments)]
        return subprocess.run(full, env=environ(), capture_output=True, text=True, timeout=240)

    ended = limited(1)  # not even for the list
    assert (ended.returncode, "Traceback" in ended.stderr) == (1, False)
    assert f"Error: {out}.parts: File too large" in ended.stderr
    assert list(tmp_path.iterdir()) == []
    ended = limited(2000)
    assert ended.returncode == 1
    assert f"Error: {out}: File too large; what is done is kept" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not out.exists()
    assert finished(out) == PARTS
    ended = run(*arguments)
    assert (ended.returncode, f"going on: {ROWS:,} images are done" in ended.stderr) == (0, True)
    assert pq.read_table(out).equals(wanted)


def test_another_model_other_options_or_images_do_not_go_on(
    oracle_bundle: Path, data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "z.parquet"
    other = tmp_path / "oracle" / "1"
    shutil.copytree(oracle_bundle, other)
    manifest = other / "manifest.json"
    manifest.write_text(manifest.read_text() + "\n")
    with begun("score", oracle_bundle, data, "--out", out) as process:
        until(lambda: finished(out) >= 1, _WAIT_S)
        process.send_signal(signal.SIGKILL)
    parts = finished(out)
    for words, arguments in {
        "of a run with verb score, not encode": ("encode", oracle_bundle, data),
        'of a run with options {"by": "l1", "fpr": 0.05}': (
            "score", oracle_bundle, data, "--fpr", "0.1",
        ),
        "of a run with model oracle@1": ("score", other, data),
        "of a run with images": ("score", oracle_bundle, data, data),
    }.items():  # fmt: skip
        ended = run(*arguments, "--out", out)
        assert ended.returncode == 2, ended.stderr
        assert words in ended.stderr
        assert "remove it to begin anew" in ended.stderr
    assert finished(out) == parts
    folder = tmp_path / "z.parquet.parts"
    for name, words in {
        "inputs.parquet": "has lost its list of images",
        "run.json": "of a run with format unknown",
    }.items():
        (folder / name).write_bytes(b"[1]")
        ended = run("score", oracle_bundle, data, "--out", out)
        assert (ended.returncode, words in ended.stderr) == (2, True)
    assert finished(out) == parts
    table = pa.table({"score": [1.0]})
    pq.write_table(table.replace_schema_metadata({"biject": "no job"}), out)
    alien = out.read_bytes()
    for theirs in (alien, b"somebody's"):
        out.write_bytes(theirs)
        ended = run("score", oracle_bundle, data, "--out", out)
        assert (ended.returncode, "of a run with format unknown" in ended.stderr) == (2, True)
        assert out.read_bytes() == theirs


def test_where_no_answer_can_be_written_nothing_is_left(
    oracle_bundle: Path, data: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(b"mine")
    (tmp_path / "z.parquet.parts").mkdir()
    (tmp_path / "z.parquet.parts" / "mine").write_bytes(b"mine")
    (tmp_path / "folder.parquet").mkdir()
    before = sorted(tmp_path.rglob("*"))
    for name, words in {
        "file/z.parquet": "cannot be made: Not a directory",
        "z.parquet": "z.parquet.parts is in the way: it holds mine",
        "folder.parquet": "is a folder",
    }.items():
        ended = run("encode", oracle_bundle, data, "--out", tmp_path / name)
        assert (ended.returncode, words in ended.stderr) == (2, True), ended.stderr
    assert sorted(tmp_path.rglob("*")) == before


def test_memory_does_not_grow_with_the_images(oracle_bundle: Path, tmp_path: Path) -> None:
    """The most that the command and its processes have at once, for ten times as many files."""
    peaks = []
    for count in (2_000, 20_000):
        folder = tmp_path / f"{count}"
        folder.mkdir()
        Image.fromarray(pictures(1)[0]).save(folder / "0.png")
        for i in range(1, count):
            os.link(folder / "0.png", folder / f"{i}.png")
        with begun("encode", oracle_bundle, folder, "--out", f"{folder}.parquet") as process:
            peaks.append(_peak(process))
        assert process.returncode == 0
        assert pq.read_metadata(f"{folder}.parquet").num_rows == count
    few, many = peaks
    assert few > 50 * 2**20  # or nothing was measured
    assert many < few + 32 * 2**20


def _peak(process: "subprocess.Popen[str]") -> int:
    """Bytes."""
    most, first = 0, psutil.Process(process.pid)
    while process.poll() is None:
        with contextlib.suppress(psutil.NoSuchProcess):
            all_of_them = [first, *first.children(recursive=True)]
            most = max(most, sum(one.memory_info().rss for one in all_of_them))
        time.sleep(0.02)
    return most
