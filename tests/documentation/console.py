"""The documents' ```console blocks: taken apart, run against a real server, compared, filled in.

A line that begins with "$ " is a command; the lines below it are what it prints.  "..." at the end
of a shown line means that the rest of that line was cut.
"""

import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from server_process import free_port

ROOT: Final = Path(__file__).resolve().parents[2]
README: Final = ROOT / "README.md"
# whose commands are run
DOCUMENTS: Final = (README, *(ROOT / "docs" / name for name in ("api.md", "bulk.md")))
MODEL: Final = ROOT / "serving" / "bundles" / "fashion"
HOST: Final = "localhost:3000"  # as documents write it

WIDTH: Final = 100  # characters of a shown line
TOLERANCE: Final = 2e-3  # absolute: devices differ by less, answers that are wrong by more
_REACHABLE: Final = ("README.md", "docs", "serving")
_NUMBER: Final = re.compile(r"(-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)")
_CUT_NUMBER: Final = re.compile(r"-?(\d[\d.]*([eE][+-]?\d*)?)?$")
_REQUEST_ID: Final = re.compile(r'(?<="request_id":")[^"]*')
_READY_S: Final = 120.0
_COMMAND_S: Final = 60.0


class Place(NamedTuple):
    """A folder to type commands in, and the port of the server they ask."""

    folder: Path
    port: int


class Shown(NamedTuple):
    """A command of a document and the lines that stand below it."""

    command: str
    output: tuple[str, ...]


def shown(text: str) -> list[Shown]:
    """The commands in the console blocks of a Markdown text."""
    found: list[Shown] = []
    for line, inside in _lines(text):
        if inside and line.startswith("$ "):
            found.append(Shown(line[2:], ()))
        elif inside:
            command, output = found.pop()
            found.append(Shown(command, (*output, line)))
    return found


def filled(text: str, printed: Callable[[str], Sequence[str]]) -> str:
    """The Markdown text with what `printed` says of each command, in place of what stood there."""
    lines: list[str] = []
    for line, inside in _lines(text):
        if not inside:
            lines.append(line)
        elif line.startswith("$ "):
            lines += [line, *map(_narrow, printed(line[2:]))]
    return "\n".join(lines) + "\n"


def agree(line: str, printed: str) -> bool:
    """Whether a shown line is that printed one: the same text, numbers within TOLERANCE.

    What was cut is not looked at, nor what a run costs, nor the id of a request.
    """
    if '"usage"' in line:
        line, printed = line.partition('"usage"')[0], printed.partition('"usage"')[0]
    cut = line.endswith("...")
    if cut:
        line = _CUT_NUMBER.sub("", line[:-3])
    ours = _NUMBER.split(_REQUEST_ID.sub("", line))  # text, number, text, ..., text
    theirs = _NUMBER.split(_REQUEST_ID.sub("", printed))
    if len(theirs) < len(ours) or (len(theirs) > len(ours) and not cut):
        return False
    *before, last = ours
    ends = theirs[len(before)].startswith(last) if cut else theirs[-1] == last
    return ends and all(_equal(a, b) for a, b in zip(before, theirs, strict=False))


@contextmanager
def server(folder: Path) -> Iterator[int]:
    """`biject serve` with the models that ship, on a free port, which this gives; it runs until
    the block ends, and logs to `folder`."""
    port = free_port()
    command = [sys.executable, "-m", "biject", "serve", "--port", str(port), "--threads", "1"]
    log = folder / "server.log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            command, cwd=folder, env=environ(), stdout=file, stderr=subprocess.STDOUT
        )
    try:
        _wait_until_ready(process, port, log)
        yield port
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def furnish(folder: Path) -> None:
    """Make what the documents' commands read reachable from `folder`."""
    for name in _REACHABLE:
        (folder / name).symlink_to(ROOT / name)


def run(command: str, *, folder: Path, port: int) -> list[str]:
    """The lines that a document's command prints, run by bash in `folder`.

    Raises RuntimeError, with what it printed, if its exit code is not 0.
    """
    ended = subprocess.run(
        ["bash", "-c", command.replace(HOST, f"localhost:{port}")],
        cwd=folder,
        env=environ(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=_COMMAND_S,
        check=False,
    )
    text = ended.stdout.decode("utf-8", "replace").replace(f"localhost:{port}", HOST)
    if ended.returncode != 0:
        raise RuntimeError(f"{command}\nended with exit code {ended.returncode}:\n{text}")
    return text.splitlines()


def _lines(text: str) -> Iterator[tuple[str, bool]]:
    """Each line, and whether it stands inside a console block."""
    inside = False
    for line in text.splitlines():
        inside = inside and line != "```"
        yield line, inside
        inside = inside or line == "```console"


def _narrow(line: str) -> str:
    return line if len(line) <= WIDTH else line[: WIDTH - 3] + "..."


def _equal(a: str, b: str) -> bool:
    if a == b:
        return True
    both_numbers = _NUMBER.fullmatch(a) and _NUMBER.fullmatch(b)
    return bool(both_numbers) and abs(float(a) - float(b)) <= TOLERANCE


def environ() -> dict[str, str]:
    """This process's environment without settings of ours, and with this Python's commands."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("BIJECT_")}
    return {
        **kept,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), kept.get("PATH", "")]),
        "PYTHONPATH": str(ROOT),
        "BIJECT_DEFAULT": "fashion",  # as scripts/serve sets it
        "OMP_NUM_THREADS": "1",
        "NO_PROXY": "localhost,127.0.0.1",
        "no_proxy": "localhost,127.0.0.1",
    }


def _wait_until_ready(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    ask = urllib.request.build_opener(urllib.request.ProxyHandler({})).open
    end = time.monotonic() + _READY_S
    while time.monotonic() < end and process.poll() is None:
        try:
            with ask(f"http://127.0.0.1:{port}/readyz", timeout=5):
                return
        except urllib.error.HTTPError as error:
            error.close()  # 503: it is loading
        except OSError:
            pass  # nobody listens yet
        time.sleep(0.2)
    raise RuntimeError(f"the server did not come up:\n{log.read_text(errors='replace')}")
