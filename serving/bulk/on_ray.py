"""Parts computed by Ray Data: tasks decode, a pool of actors runs an engine each.

A part is one row on its way, so no part is ever torn apart.  The actors write the parts where this
machine would have written them: one that Ray does again, since a worker died, is written again in
its place.  So all nodes must see the images, the bundle and OUT at the same paths.
"""

import importlib.util
import logging
import os
import pickle
import socket
from collections.abc import Callable, Mapping
from typing import Any, Final

from serving.bulk.job import Job
from serving.bulk.ledger import Ledger
from serving.bulk.pipeline import computed, decoded, whole
from serving.bulk.progress import Progress
from serving.errors import DeviceError
from serving.files import WrongOutput
from serving.local import open_bundle

LOCAL: Final = "local"  # in place of an address: a cluster of this machine, for this run
# Of a core, for who decodes and who computes: neither can keep the other from beginning.
_SHARE: Final = 0.5
_REACH_S: Final = 10.0  # until an address is taken for one where nobody is
Row = dict[str, Any]


def check(*, verbose: bool) -> None:
    """Raises WrongOutput where Ray cannot be asked."""
    if importlib.util.find_spec("ray") is None:
        raise WrongOutput(
            "for --ray install Ray: in the clone, pip install --constraint constraints.txt '.[ray]'"
        )
    if verbose:
        raise WrongOutput("--verbose compares with one machine: leave out --ray")


def work(ledger: Ledger, address: str, stopped: Callable[[], bool], progress: Progress) -> None:
    """Do the parts that are not done on the cluster at `address`.

    Raises DeviceError if there is no such cluster, or it lacks the device.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    _check_answers(address)
    import ray

    try:
        # Its log is its own; what a user must know is said by this command.
        ray.init(address, log_to_driver=False, logging_level=logging.ERROR)
    # Ray raises an Exception and nothing more for a node that does not come up.
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise DeviceError(f"no Ray cluster at {address}: {reason}") from error
    try:
        for row in _rows(ledger, ray.cluster_resources()):
            progress.add(row["images"], row["failed"])
            if stopped():
                break
    finally:
        ray.shutdown()


def _check_answers(address: str) -> None:
    """Raises DeviceError where nobody listens at [ray://]HOST:PORT: Ray would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal():
        return  # `local`, `auto`: Ray knows where that is
    try:
        socket.create_connection((host.strip("[]"), int(port)), _REACH_S).close()
    except (OSError, OverflowError) as error:
        raise DeviceError(f"no Ray cluster at {address}: {error}") from error


def _rows(ledger: Ledger, resources: Mapping[str, float]) -> Any:
    """A row for each part, as it is done."""
    import ray.data

    ray.data.DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    job, todo = ledger.job, ledger.todo()
    gpus = int(resources.get("GPU", 0)) if job.device != "cpu" else 0
    if job.device == "cuda" and not gpus:
        raise DeviceError("device cuda was asked for, but the cluster has no GPU")
    engines = min(gpus or max(1, int(resources.get("CPU", 1))), len(todo))
    return (
        # A block for each part from the start: tasks that cut them would want whole cores, which a
        # cluster whose engines have begun may not have left.
        ray.data.from_items([{"part": part} for part in todo], override_num_blocks=len(todo))
        .map(_decode, fn_args=(job,), num_cpus=_SHARE)
        .map(
            _Engine,
            fn_constructor_args=(job,),
            compute=ray.data.ActorPoolStrategy(min_size=1, max_size=engines, initial_size=engines),
            num_cpus=_SHARE,
            num_gpus=1 if gpus else 0,
        )
        .iter_rows()
    )


def _decode(row: Row, job: Job) -> Row:
    """The images of a part, packed: its paths, and its pixels."""
    inputs = Ledger(job).reopened().inputs(row["part"])
    return {**row, "images": pickle.dumps((inputs, decoded(inputs, job.spec)), protocol=5)}


class _Engine:
    """Computes a part and writes it."""

    def __init__(self, job: Job) -> None:
        self._ledger = Ledger(job).reopened()
        self._pair = open_bundle(job.bundle, device=job.device, threads=1)

    def __call__(self, row: Row) -> Row:
        inputs, images = pickle.loads(row["images"])
        answers = computed(self._ledger.job, self._pair, inputs, images)
        self._ledger.write(row["part"], whole(self._ledger.form, [answers]))
        failed = sum(error is not None for error in answers.errors)
        return {"part": row["part"], "images": len(inputs), "failed": failed}
