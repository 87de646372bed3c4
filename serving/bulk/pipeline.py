"""Parts computed on this machine: processes decode, threads run the engine, some blocks ahead."""

import ctypes
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import count, islice
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa

from serving.bulk import tables
from serving.bulk.job import Job
from serving.bulk.ledger import Ledger
from serving.cores import usable_cores
from serving.images import ImageSpec, Pixels
from serving.inputs import Input, fitted, read
from serving.local import LocalPair, open_bundle

_BLOCK_BYTES: Final = 2**22  # pixels that go from process to process at once
_BLOCK_ROWS: Final = 256
_CALLERS_OF_A_GPU: Final = 2  # while one computes the other has its answer taken apart
_AHEAD: Final = 2  # blocks in work for each process and thread

_shared: Pixels  # in a decoding process: the places that its images go to


class Decoded(NamedTuple):
    """Images from files."""

    rows: Pixels  # [n, H, W, C], those that could be read
    errors: list[str | None]  # one for each file


class Answers(NamedTuple):
    """What came of a block."""

    paths: list[str]
    made: pa.Table | None  # a row for each path without an error
    errors: list[str | None]


def decoded(inputs: Sequence[Input], spec: ImageSpec, rows: Pixels | None = None) -> Decoded:
    """The images that these are, in the first of `rows` where there are some."""
    reading = fitted(spec)
    rows = np.empty((len(inputs), *spec.shape), np.uint8) if rows is None else rows
    errors: list[str | None] = []
    good = 0
    for one in inputs:
        found = read(one, reading)
        if isinstance(found, str):
            errors.append(found)
        else:
            rows[good] = found
            good += 1
            errors.append(None)
    return Decoded(rows[:good], errors)


def computed(job: Job, pair: LocalPair, inputs: Sequence[Input], images: Decoded) -> Answers:
    """The verb's answers for these; an image that the engine fails on has an error, too."""
    made, failures = tables.answered(pair, job.verb, job.parameters, images.rows)
    rest = iter(failures)
    errors = [next(rest) if error is None else error for error in images.errors]
    return Answers([one.path for one in inputs], made, errors)


def whole(form: pa.Schema, pieces: Sequence[Answers]) -> pa.Table:
    """The rows of a part."""
    made = [piece.made for piece in pieces if piece.made is not None]
    return tables.joined(
        form,
        [path for piece in pieces for path in piece.paths],
        pa.concat_tables(made) if made else None,
        [error for piece in pieces for error in piece.errors],
    )


class Pipeline:
    """The decoding processes and the engine of a job, until it is closed."""

    def __init__(self, job: Job) -> None:
        self._job = job
        most = max(1, min(_BLOCK_ROWS, _BLOCK_BYTES // job.item_bytes))
        self.block_rows = 1 << (most.bit_length() - 1)  # parts and batches are cut evenly
        self.pair = open_bundle(job.bundle, device=job.device, threads=1)
        callers = usable_cores() if self.pair.device == "cpu" else _CALLERS_OF_A_GPU
        self._ahead = _AHEAD * (callers + usable_cores())
        # A copy of a process that has threads is a process that may hang.
        context = multiprocessing.get_context("spawn")
        # Pixels stay where they were decoded: to send them through a pipe takes half as long again
        # as to decode them.  No more blocks are ever on their way than there are places.
        memory = context.RawArray(ctypes.c_ubyte, self._ahead * self.block_rows * job.item_bytes)
        self._places = _places(memory, self.block_rows, job.spec)
        self._next = count()
        self._engines = ThreadPoolExecutor(callers, thread_name_prefix="engine")
        self._decoders = ProcessPoolExecutor(
            usable_cores(),
            mp_context=context,
            initializer=_begin_decoding,
            initargs=(memory, self.block_rows, job.spec),
        )

    def parts(
        self, ledger: Ledger, stopped: Callable[[], bool], progress: Callable[[Answers], None]
    ) -> Iterator[tuple[int, pa.Table]]:
        """The parts that are not done, as they are; none is begun once `stopped`."""
        blocks = self._blocks(ledger, stopped)
        # Answers are taken in the order of the inputs; whatever is ahead is in work or waits here.
        pending = deque(islice(blocks, self._ahead))
        pieces: list[Answers] = []
        while pending:
            part, answers = pending.popleft()
            pieces.append(answers.result())
            progress(pieces[-1])
            pending.extend(islice(blocks, 1))
            if not pending or pending[0][0] != part:
                yield part, whole(ledger.form, pieces)
                pieces = []

    def decode(self, inputs: Sequence[Input]) -> Iterator[Pixels]:
        """These decoded and nothing else done, block by block; each until the next is asked for."""
        pending = deque(self._decoding(block) for block in islice(_cut(inputs, self), self._ahead))
        rest = islice(_cut(inputs, self), self._ahead, None)
        while pending:
            yield pending.popleft()().rows
            pending.extend(self._decoding(block) for block in islice(rest, 1))

    def close(self) -> None:
        """Begin nothing more, and let go of everything."""
        self._decoders.shutdown(cancel_futures=True)
        self._engines.shutdown(cancel_futures=True)
        self.pair.close()

    def _blocks(
        self, ledger: Ledger, stopped: Callable[[], bool]
    ) -> Iterator[tuple[int, Future[Answers]]]:
        for part in ledger.todo():
            if stopped():
                return
            for inputs in _cut(ledger.inputs(part), self):
                yield part, self._engines.submit(self._answer, inputs, self._decoding(inputs))

    def _decoding(self, inputs: Sequence[Input]) -> Callable[[], Decoded]:
        """Begin to decode these, in the place of those decoded longest ago; waits for the end."""
        place = next(self._next) % self._ahead
        with _deaf():  # a process may begin here
            errors = self._decoders.submit(_decode, inputs, self._job.spec, place)

        def wait() -> Decoded:
            found = errors.result()
            return Decoded(self._places[place, : found.count(None)], found)

        return wait

    def _answer(self, inputs: Sequence[Input], images: Callable[[], Decoded]) -> Answers:
        return computed(self._job, self.pair, inputs, images())


def _cut(inputs: Sequence[Input], pipeline: Pipeline) -> Iterator[Sequence[Input]]:
    rows = pipeline.block_rows
    return (inputs[start : start + rows] for start in range(0, len(inputs), rows))


def _places(memory: Any, rows: int, spec: ImageSpec) -> Pixels:
    """Memory that processes share as places for blocks, [places, rows, H, W, C]."""
    return np.frombuffer(memory, np.uint8).reshape(-1, rows, *spec.shape)


@contextmanager
def _deaf() -> Iterator[None]:
    """A process that begins in this hears no Ctrl-C, before it can say so itself."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT,))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin_decoding(memory: Any, rows: int, spec: ImageSpec) -> None:
    """What a decoding process does first."""
    global _shared
    _shared = _places(memory, rows, spec)
    # Ctrl-C at a terminal goes to all processes; the first of them decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _decode(inputs: Sequence[Input], spec: ImageSpec, place: int) -> list[str | None]:
    """What a decoding process does then: the images into that place; what is wrong with each."""
    return decoded(inputs, spec, _shared[place]).errors


def _end_with_parent() -> None:
    """A process that is killed cannot end those that work for it."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
