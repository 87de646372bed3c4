"""What is done of a run: a folder beside the answer, which a kill at any moment leaves usable.

OUT.parts/
    inputs.parquet   what the run is about, listed once; a row group for each part
    run.json         what the rows depend on; there once the list is whole
    00000000.parquet ... the finished parts, each there whole or not at all
    lock             held by the process that works here
"""

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Final, Self

import pyarrow as pa
import pyarrow.parquet as pq

from serving.bulk import tables
from serving.bulk.job import Job
from serving.errors import InputError
from serving.files import WrongOutput
from serving.inputs import Input, listed

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_RUN: Final = "run.json"
_INPUTS: Final = "inputs.parquet"
_LOCK: Final = "lock"
_KEY: Final = b"biject"  # of the identity, in the answer's metadata
_GROUP_BYTES: Final = 2**26  # of a row group of the answer, before it is packed
# Names in the snapshot are bytes: what a file is called need not be text.
_LIST: Final = pa.schema([("file", pa.binary()), ("member", pa.string())])


class Ledger:
    """The parts of one job, from its inputs to the answer; a context that holds the folder's lock.

    Raises:
        WrongOutput: another process works here, or what is there is of another job.
        InputError: there is nothing to read.
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        self.form = tables.schema(job.verb, job.manifest)
        self.folder = job.out.with_name(f"{job.out.name}.parts")
        self._lock: int | None = None

    def __enter__(self) -> Self:
        if not self.complete:
            self._make_folder()
            self._take_lock()
            try:
                if not self.complete:  # nor was it done while this waited for its turn
                    self._open()
            except BaseException:
                self._leave_lock()
                raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._leave_lock()

    def reopened(self) -> Self:
        """This, for another process to read inputs and write parts; without the lock."""
        try:
            self._inputs = pq.ParquetFile(self.folder / _INPUTS)
        except (OSError, pa.ArrowInvalid) as error:
            raise WrongOutput(
                f"{self.folder} has lost its list of images: remove it to begin anew"
            ) from error
        return self

    @property
    def complete(self) -> bool:
        """Whether the answer is there already.  Raises WrongOutput for one of another job."""
        if not self.job.out.exists():
            return False
        _compare(f"{self.job.out}", _identity_of(self.job.out), self.job.identity())
        return True

    @property
    def total(self) -> int:
        """Images that the run is about."""
        return int(self._inputs.metadata.num_rows)

    @property
    def parts(self) -> int:
        """How many parts there are."""
        return int(self._inputs.num_row_groups)

    def todo(self) -> list[int]:
        """The parts that are not done, in order."""
        return [part for part in range(self.parts) if not self._has(part)]

    def rows(self, part: int) -> int:
        """Images in this part."""
        return int(self._inputs.metadata.row_group(part).num_rows)

    def inputs(self, part: int) -> list[Input]:
        """The images of this part."""
        columns = self._inputs.read_row_group(part).to_pydict()
        return [
            Input(os.fsdecode(file), member)
            for file, member in zip(columns["file"], columns["member"], strict=True)
        ]

    def write(self, part: int, table: pa.Table) -> None:
        """Keep the rows of this part.  To write it again, somewhere else even, does no harm."""
        _write_whole(self._part(part), [table], self.form)

    def publish(self) -> tuple[int, int]:
        """Make the answer of all parts and remove those; its rows, and how many of them failed."""
        form = self.form.with_metadata({_KEY: json.dumps(self.job.identity()).encode()})
        failed = 0

        def groups() -> Iterator[pa.Table]:
            nonlocal failed
            held: list[pa.Table] = []
            for part in range(self.parts):
                held.append(pq.read_table(self._part(part), schema=self.form))
                failed += held[-1].num_rows - held[-1]["error"].null_count
                if sum(table.nbytes for table in held) >= _GROUP_BYTES:
                    yield pa.concat_tables(held)
                    held = []
            if held:
                yield pa.concat_tables(held)

        _write_whole(self.job.out, groups(), form)
        total = self.total
        self._inputs.close()
        self.tidy()
        return total, failed

    def tidy(self) -> None:
        """Remove what led to an answer that is there."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _open(self) -> None:
        """Go on with what is there, or list what is to be done."""
        run = self.folder / _RUN
        identity = self.job.identity()
        if run.exists():
            _compare(f"{self.folder}", _identity_in(run.read_bytes()), identity)
        else:
            try:
                _write_whole(self.folder / _INPUTS, _listing(self.job), _LIST)
            except InputError:  # nothing is kept of a run that did not begin
                self.tidy()
                raise
            except OSError as error:
                self.tidy()
                raise OSError(f"{self.folder}: {error.strerror or error}") from error
            with _replaced(run) as file:
                file.write(json.dumps(identity, indent=1).encode() + b"\n")
        self.reopened()

    def _make_folder(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise WrongOutput(f"{self.folder} cannot be made: {error.strerror}") from error
        strays = [path.name for path in self.folder.iterdir() if not _is_ours(path.name)]
        if strays and not (self.folder / _RUN).exists():
            raise WrongOutput(f"{self.folder} is in the way: it holds {min(strays)}")

    def _take_lock(self) -> None:
        self._lock = os.open(self.folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o666)
        if fcntl is None:
            return
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._leave_lock()
            raise WrongOutput(f"another process works at {self.job.out} already") from error

    def _leave_lock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _part(self, part: int) -> Path:
        return self.folder / f"{part:08}.parquet"

    def _has(self, part: int) -> bool:
        """Whether a part is done; one that is damaged is not."""
        try:
            return int(pq.read_metadata(self._part(part)).num_rows) == self.rows(part)
        except (OSError, pa.ArrowInvalid):
            return False


def _listing(job: Job) -> Iterator[pa.Table]:
    """The inputs of each part."""
    inputs = listed(job.images)
    empty = True
    while some := list(islice(inputs, job.part_rows)):
        files, members = zip(*some, strict=True)
        yield pa.table([pa.array(map(os.fsencode, files), pa.binary()), members], _LIST)
        empty = False
    if empty:
        raise InputError(f"no images in {', '.join(map(str, job.images))}")


def _write_whole(out: Path, groups: Any, form: pa.Schema) -> None:
    """Write the tables as row groups."""
    with (
        _replaced(out) as file,
        pq.ParquetWriter(file, form, compression="zstd", use_dictionary=False) as writer,
    ):
        for group in groups:
            writer.write_table(group, row_group_size=max(1, group.num_rows))


@contextmanager
def _replaced(out: Path) -> Iterator[BinaryIO]:
    """A file under a temporary name, which is renamed when it is whole, safely on disk."""
    temporary = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(out)
    finally:
        temporary.unlink(missing_ok=True)


def _identity_of(out: Path) -> Mapping[str, str]:
    """The job that an answer is of; nothing for a file that is none of ours."""
    try:
        return _identity_in((pq.read_schema(out).metadata or {}).get(_KEY, b""))
    except (OSError, pa.ArrowInvalid):
        return {}


def _identity_in(kept: bytes) -> Mapping[str, str]:
    """What was kept of a job; nothing where that is damaged."""
    try:
        found = json.loads(kept)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _compare(place: str, found: Mapping[str, str], wanted: Mapping[str, str]) -> None:
    """Raises WrongOutput unless what is there is of the job that is wanted."""
    for key, value in wanted.items():
        if found.get(key) != value:
            raise WrongOutput(
                f"{place} is there, of a run with {key} {found.get(key, 'unknown')}, not {value}: "
                "remove it to begin anew"
            )


def _is_ours(name: str) -> bool:
    return name in (_LOCK, _INPUTS) or name.startswith(".")
