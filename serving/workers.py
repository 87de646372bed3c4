"""The worker processes of one server: how each of them stands, and what all are to do.

They share a folder.  Each worker holds an OS lock on a file there, its slot: a lock goes with its
process, however that ends, so nobody is counted who is gone.  The figures for Prometheus are kept
in the same folder; those of the dead that say how things stand now are taken out.  So are orders,
which every worker carries out, one that comes later included.
"""

import contextlib
import itertools
import json
import math
import os
import shutil
import stat
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, Literal, NamedTuple

from prometheus_client.multiprocess import mark_process_dead

from serving.settings import BadSetting

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

FIGURES: Final = "PROMETHEUS_MULTIPROC_DIR"  # prometheus_client's: where workers add up figures
Action = Literal["load", "unload"]
_SLOT: Final = "worker-"
_ORDERS: Final = "orders"
_FIRST: Final = "models"  # what the first worker found
NONE: Final[Mapping[str, str]] = {}
_COMMON: Final = (_ORDERS, _FIRST)
_REMEMBERED: Final = 16  # failures that a worker still tells of
_PATIENCE: Final = 1.0  # seconds to wait for a worker that looks at the slots
_POLL: Final = 0.005


class _Record(NamedTuple):
    """What a worker says of itself in its slot."""

    pid: int
    ready: bool
    done: int = 0  # the number of the last order that it carried out
    failures: Mapping[str, str] = NONE  # an order's number: why it failed


class Order(NamedTuple):
    """Something that all workers are to do."""

    number: int  # later orders have higher ones
    action: Action
    ref: str  # NAME@VERSION


def check_number(workers: int) -> None:
    """Raises BadSetting for more workers than this system can keep count of."""
    if workers > 1 and fcntl is None:
        raise BadSetting(f"{workers} workers need file locks, which this system lacks: run one")


def crew(wanted: int) -> "Crew | None":
    """The crew of this process's parent, where there is more than a process that goes alone."""
    return None if fcntl is None else Crew(wanted)


def shared_folder(parent: int) -> Path:
    """Where the workers that the process `parent` started meet."""
    return Path(tempfile.gettempdir()) / f"biject-{parent}"


class Crew:
    """All workers of a server, seen by one of them, which `join`s before it says or asks anything.

    Any thread may call; each call may wait for other workers, so none is for an event loop.  All
    but `join` raise TimeoutError, an OSError, if one of them does not get out of the way.

    Args:
        wanted: How many there are to be.
        folder: Where they meet; by default the one of the process that started this.
    """

    def __init__(self, wanted: int, folder: Path | None = None) -> None:
        self._wanted = wanted
        self._folder = shared_folder(os.getppid()) if folder is None else folder
        self._slot: int | None = None
        self._record = _Record(os.getpid(), ready=False)
        self._turn = threading.Lock()  # one thread at a time

    def join(self) -> int:
        """Take the first slot that is free, and keep this process's figures beside it."""
        with self._alone(math.inf):
            if not self._live():  # what is there was left by another server of the same number
                for path in (*self._folder.glob("*.db"), *map(self._folder.joinpath, _COMMON)):
                    path.unlink(missing_ok=True)
            self._slot = self._first_of(itertools.count())
            self._write()
            # Whether there are such figures was settled when prometheus_client was imported.
            if FIGURES in os.environ:
                os.environ[FIGURES] = str(self._folder)
        return self._slot

    def tell(self, *, ready: bool) -> None:
        """Let the others know how this worker stands."""
        with self._alone():
            self._record = self._record._replace(ready=ready)
            if self._slot is None:  # it has left, and what it had open is somebody else's
                return
            if not os.fstat(self._file).st_nlink:  # somebody tidied up, and others may be quicker
                old = self._file
                self._slot = self._first_of(itertools.chain([self._slot], itertools.count()))
                os.close(old)
            self._write()

    def order(self, action: Action, ref: str) -> int:
        """Have all workers do something, those that come later too; the order's number."""
        with self._alone():
            orders = self._orders()
            last = max([order.number for order in orders] + [one.done for one in self._live()])
            # Of orders about the same model the last one counts.
            orders = [order for order in orders if order.ref != ref]
            orders.append(Order(last + 1, action, ref))
            self._put(_ORDERS, orders)
            return last + 1

    def wanted(self, found: Sequence[str]) -> tuple[set[str], int]:
        """What a worker that starts is to load, so that all have the same; the last order's number.

        That is what the first of them `found`, and what orders have made of it since: a version
        that was copied in meanwhile is nobody's yet.
        """
        with self._alone():
            if not (self._folder / _FIRST).exists():
                self._put(_FIRST, list(found))
            orders = self._orders()
            refs = set(json.loads((self._folder / _FIRST).read_text(encoding="utf-8")))
        for order in orders:
            (refs.add if order.action == "load" else refs.discard)(order.ref)
        return refs, max((order.number for order in orders), default=0)

    def orders(self, after: int = 0) -> list[Order]:
        """What is to be done, but for that up to number `after`; by number."""
        with self._alone():
            return [order for order in self._orders() if order.number > after]

    def did(self, number: int, failure: str = "") -> None:
        """Let the others know that this worker has carried out all orders up to `number`.

        `failure` is why it could not do the last of them.
        """
        with self._alone():
            failures = {**self._record.failures, str(number): failure} if failure else None
            if failures is not None:
                kept = list(failures.items())[-_REMEMBERED:]
                self._record = self._record._replace(failures=dict(kept))
            self._record = self._record._replace(done=number)
            if self._slot is not None:
                self._write()

    def outcome(self, number: int) -> list[str] | None:
        """Why workers could not carry out an order; None while some have not tried."""
        with self._alone():
            live = self._live()
        if any(one.done < number for one in live):
            return None
        return [one.failures[str(number)] for one in live if str(number) in one.failures]

    def unready(self) -> str | None:
        """Why not all workers are up, as a sentence; None when they are."""
        with self._alone():
            live = self._live()
        total = max(self._wanted, len(live))
        missing = total - sum(record.ready for record in live)
        if not missing:
            return None
        return f"{missing} of {total} workers {'is' if missing == 1 else 'are'} not ready"

    def any_ready(self) -> bool:
        """Whether somebody could answer in this worker's place."""
        with self._alone():
            return any(record.ready for record in self._live())

    def bury(self) -> None:
        """Take the dead out of the figures that say how things stand now."""
        with self._alone():
            self._live()

    def leave(self) -> None:
        """Give the slot back; the last one clears up."""
        with self._alone():
            if self._slot is not None:
                os.close(self._file)
                self._slot = None
            if not self._live():
                shutil.rmtree(self._folder, ignore_errors=True)

    # Within _alone() only

    def _first_of(self, slots: Iterable[int]) -> int:
        """Take the first that is free."""
        return next(slot for slot in slots if self._take(slot))

    def _take(self, slot: int) -> bool:
        file = os.open(self._folder / f"{_SLOT}{slot}", os.O_RDWR | os.O_CREAT, 0o600)
        if _locked(file):
            self._file = file  # open, and thereby locked, as long as the process lives
            return True
        os.close(file)
        return False

    def _write(self) -> None:
        data = json.dumps(self._record).encode()
        os.pwrite(self._file, data, 0)  # before it is cut: whoever looks in between sees something
        os.ftruncate(self._file, len(data))

    def _put(self, name: str, value: object) -> None:
        """Write it whole, or not at all."""
        temporary = self._folder / f"{name}.tmp"
        temporary.write_text(json.dumps(value), encoding="utf-8")
        temporary.replace(self._folder / name)

    def _orders(self) -> list[Order]:
        try:
            found = json.loads((self._folder / _ORDERS).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return []
        return [Order(*each) for each in found]

    def _live(self) -> list[_Record]:
        """What those say who live; the slots and gauges of others are cleared away."""
        live = []
        for path in sorted(self._folder.glob(f"{_SLOT}*")):
            with path.open("r+b", buffering=0) as file:
                record = _Record(*json.loads(file.read() or b"[0, false]"))
                if _locked(file.fileno()):
                    path.unlink()
                    mark_process_dead(record.pid, self._folder)  # type: ignore[no-untyped-call]
                else:
                    live.append(record)
        return live

    @contextlib.contextmanager
    def _alone(self, patience: float = _PATIENCE) -> Iterator[None]:
        """While no other worker looks at slots or changes them: trying a lock means to hold it."""
        with self._turn:
            file = self._entered(time.monotonic() + patience)
            try:
                yield
            finally:
                os.close(file)

    def _entered(self, end: float) -> int:
        path = self._folder / "lock"
        while True:
            _make_private(self._folder)
            try:
                file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
            except FileNotFoundError:
                continue
            try:
                _wait_for(file, end)
            except TimeoutError:
                os.close(file)
                raise
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(file), path.stat()):
                    return file
            os.close(file)  # whoever left last has just cleared the folder away


def _wait_for(file: int, end: float) -> None:
    """Lock the open file.  Raises TimeoutError if somebody has it until `end`."""
    while not _locked(file):  # not flock's own waiting, which cannot be given up
        if time.monotonic() > end:
            raise TimeoutError("a worker that was halted keeps the others from their slots")
        time.sleep(_POLL)


def _locked(file: int) -> bool:
    """Lock the open file, unless somebody has."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _make_private(folder: Path) -> None:
    """A folder of this user's alone.  Raises PermissionError if somebody else has put one there."""
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    with contextlib.suppress(FileNotFoundError):
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
            raise PermissionError(f"{folder} belongs to somebody else: remove it")
