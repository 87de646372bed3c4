"""Parts computed on this machine: processes decode, threads run the engine, some blocks ahead."""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from itertools import islice
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa

from serving.bulk import tables
from serving.bulk.job import Job
from serving.bulk.ledger import Ledger
from serving.cores import usable_cores
from serving.images import ImageSpec, Pixels
from serving.inputs import Input, read
from serving.local import LocalPair, open_bundle

_BLOCK_BYTES: Final = 2**21  # pixels that go from process to process at once
_BLOCK_ROWS: Final = 256
_CALLERS_OF_A_GPU: Final = 2  # while one computes the other has its answer taken apart
_AHEAD: Final = 4  # blocks in work for each process and thread


class Decoded(NamedTuple):
    """Images from files."""

    rows: Pixels  # [n, H, W, C], those that could be read
    errors: list[str | None]  # one for each file


class Answers(NamedTuple):
    """What came of a block."""

    paths: list[str]
    made: pa.Table | None  # a row for each path without an error
    errors: list[str | None]


def decoded(inputs: Sequence[Input], spec: ImageSpec) -> Decoded:
    """The images that these are."""
    found = [read(one, spec) for one in inputs]
    good = [one for one in found if not isinstance(one, str)]
    return Decoded(
        np.stack(good) if good else np.empty((0, *spec.shape), np.uint8),
        [one if isinstance(one, str) else None for one in found],
    )


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
        self.block_rows = max(1, min(_BLOCK_ROWS, _BLOCK_BYTES // job.item_bytes))
        self.pair = open_bundle(job.bundle, device=job.device, threads=1)
        callers = usable_cores() if self.pair.device == "cpu" else _CALLERS_OF_A_GPU
        self._engines = ThreadPoolExecutor(callers, thread_name_prefix="engine")
        self._decoders = ProcessPoolExecutor(
            usable_cores(),
            # A copy of a process that has threads is a process that may hang.
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_begin_decoding,
        )
        self._ahead = _AHEAD * (callers + usable_cores())

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

    def decode(self, inputs: Sequence[Input]) -> Iterator[Decoded]:
        """These decoded and nothing else done, block by block."""
        pending = deque(self._decoding(block) for block in islice(_cut(inputs, self), self._ahead))
        rest = islice(_cut(inputs, self), self._ahead, None)
        while pending:
            yield pending.popleft().result()
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

    def _decoding(self, inputs: Sequence[Input]) -> Future[Decoded]:
        return self._decoders.submit(decoded, inputs, self._job.spec)

    def _answer(self, inputs: Sequence[Input], images: Future[Decoded]) -> Answers:
        return computed(self._job, self.pair, inputs, images.result())


def _cut(inputs: Sequence[Input], pipeline: Pipeline) -> Iterator[Sequence[Input]]:
    rows = pipeline.block_rows
    return (inputs[start : start + rows] for start in range(0, len(inputs), rows))


def _begin_decoding() -> None:
    """What a decoding process does first."""
    # Ctrl-C at a terminal goes to all processes; the first of them decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A process that is killed cannot end those that work for it."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
