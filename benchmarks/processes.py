"""A server as a process of its own: started, waited for, its processor time read, ended. Linux."""

import contextlib
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_READY_S: Final = 120.0
_END_S: Final = 20.0
_PATIENCE_S: Final = 60.0
_SAMPLE_S: Final = 0.5
_TICK: Final = os.sysconf("SC_CLK_TCK")
_open: Final = urllib.request.build_opener(urllib.request.ProxyHandler({})).open


@dataclass(frozen=True, slots=True)
class Running:
    """A server that answers."""

    pid: int
    url: str
    log: Path

    def cpu_seconds(self) -> dict[int, float]:
        """Processor time that each process of the server has used so far, ended children's too."""
        return {pid: used for pid in family(self.pid) if (used := _used(pid)) is not None}


def spent(before: Mapping[int, float], after: Mapping[int, float]) -> float:
    """Processor seconds between two readings of `Running.cpu_seconds`."""
    return sum(used - before.get(pid, 0.0) for pid, used in after.items())


@dataclass(frozen=True, slots=True)
class Reading:
    """Seconds: of the clock, of processor time of the whole machine, and of this process."""

    clock: float
    machine: float
    own: float  # its children's that have ended included

    @classmethod
    def now(cls) -> "Reading":
        ticks = Path("/proc/stat").read_text().splitlines()[0].split()[1:]
        user, nice, system, _idle, _wait, *rest = map(int, ticks[:8])  # then interrupts, and stolen
        busy = user + nice + system + sum(rest)
        return cls(time.monotonic(), busy / _TICK, sum(os.times()[:4]))

    def others(self, *, server: float = 0.0) -> float:
        """Share of the machine's cores that processes of somebody else took since this reading.

        `server` is what a server of ours used meanwhile, in processor seconds.
        """
        after = Reading.now()
        used = after.machine - self.machine - (after.own - self.own) - server
        cores = os.cpu_count() or 1
        return round(max(0.0, used / (after.clock - self.clock) / cores), 3)


def wait_for_quiet(most: float, *, server: "Running | None" = None) -> None:
    """Wait until others take at most this share of the cores, or for a minute."""
    end = time.monotonic() + _PATIENCE_S
    while most < 1 and time.monotonic() < end:
        reading, before = Reading.now(), server.cpu_seconds() if server else {}
        time.sleep(_SAMPLE_S)
        own = spent(before, server.cpu_seconds()) if server else 0.0
        if reading.others(server=own) <= most:
            return


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def running(
    command: Sequence[str],
    *,
    port: int,
    ready: str,
    cwd: Path,
    environ: Mapping[str, str],
    log: Path,
) -> Iterator[Running]:
    """The server that `command` starts, from when `ready` (a path) answers 200, for a block.

    Raises RuntimeError, with the end of its log, if it ends or takes too long.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as file:
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env={**os.environ, **environ},
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    server = Running(process.pid, f"http://127.0.0.1:{port}", log)
    try:
        _wait(process, f"{server.url}{ready}", log)
        yield server
    finally:
        _end(process)


def family(pid: int) -> set[int]:
    """The process and all that descend from it."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and (fields := _stat(int(entry.name))):
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    found, open_ends = set[int](), [pid]
    while open_ends:
        one = open_ends.pop()
        found.add(one)
        open_ends += children.get(one, [])
    return found


def _used(pid: int) -> float | None:
    fields = _stat(pid)
    return sum(map(int, fields[11:15])) / _TICK if fields else None


def _stat(pid: int) -> list[str] | None:
    """The fields of /proc/PID/stat behind the command's name; None for a process that is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    return text.rpartition(")")[2].split()


def _wait(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    end = time.monotonic() + _READY_S
    while time.monotonic() < end and process.poll() is None:
        try:
            with _open(url, timeout=5):
                return
        except urllib.error.HTTPError as error:
            error.close()  # loading
        except OSError:
            pass  # nobody listens yet
        time.sleep(0.2)
    text = log.read_text(errors="replace")[-2_000:]
    raise RuntimeError(f"the server did not come up, see {log}:\n{text}")


def _end(process: subprocess.Popen[bytes]) -> None:
    members = family(process.pid)
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_END_S)
    for pid in members:  # those that outlived their parent
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()
