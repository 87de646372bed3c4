"""The graphs of one bundle as onnxruntime sessions: uint8 images and float32 latents in and out.

An `Engine` is blocking and thread-safe: callers bring the threads (serving.batching has them).  On
a CPU each session computes on the thread that calls it; several callers with one thread each beat
one caller with several, and no thread ever spins.
"""

import contextlib
import ctypes
import io
import logging
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from serving.bundle import Bundle, TensorInfo
from serving.cores import usable_cores
from serving.costs import padded
from serving.errors import BundleError, DeviceError
from serving.graph_sessions import graph_session

Array = npt.NDArray[Any]
Device = Literal["auto", "cpu", "cuda"]
DEVICES: Final[tuple[Device, ...]] = ("auto", "cpu", "cuda")

_CUDA: Final = "CUDAExecutionProvider"
_CPU: Final = "CPUExecutionProvider"
_CUDA_OPTIONS: Final = {
    # The exhaustive search runs again for each new batch size and gains nothing afterwards.
    "cudnn_conv_algo_search": "HEURISTIC",
    # The arena never shrinks: do not let it double at every odd batch size.
    "arena_extend_strategy": "kSameAsRequested",
    "use_tf32": "0",  # the promised tolerances are those of float32
}
_CUDA_BUCKETS: Final = (1, 2, 4, 8, 16, 32, 64, 128)  # rows
# onnxruntime's names, and ours
_DTYPES: Final = {"tensor(uint8)": "uint8", "tensor(float)": "float32", "tensor(int64)": "int64"}
_SILENT: Final = 4  # onnxruntime's severity "fatal"
_WARNING: Final = 2

# onnxruntime's default severity is process-wide: two engines must not restore it crosswise.
_logger_lock: Final = threading.Lock()
log = logging.getLogger("biject.engine")


class Engine:
    """Sessions for every graph of `bundle`, on one device.

    Args:
        bundle: An opened bundle (`serving.bundle.read`).
        device: "cpu"; "cuda", which refuses to come up anywhere else; "auto" takes CUDA where it
            really loads and says what it took.
        threads: How many callers are to compute at once on a CPU; 0: one per usable core.
        buckets: Sizes that batches are padded to, ascending; None: as the device wants it, none
            on a CPU (padding is paid for there) and powers of two on CUDA (a new size is slow).
        slot: Which of several processes this is, from 0: they take turns at the GPUs.
    Raises:
        DeviceError: `device` is "cuda" and the graphs would not run there.
        BundleError: a file is damaged, or no graph as the manifest says; names the file.
    """

    device: Literal["cpu", "cuda"]  # what the sessions say, not what was asked for

    def __init__(
        self,
        bundle: Bundle,
        *,
        device: Device = "auto",
        threads: int = 0,
        buckets: Sequence[int] | None = None,
        slot: int = 0,
    ) -> None:
        if device not in DEVICES:
            raise ValueError(f"no device called {device!r}; choose from: {', '.join(DEVICES)}")
        if threads < 0:
            raise ValueError(f"threads must be 0 or more, got {threads}")
        self.bundle = bundle
        self._graphs = bundle.manifest.graphs
        self._sessions: dict[str, ort.InferenceSession] = {}
        files = bundle.contents()  # the sessions take copies of what they need of it
        gpus, reason = (0, None) if device == "cpu" else _gpus()
        if device == "cuda" and reason:
            raise DeviceError(f"device cuda was asked for, but {reason}")
        self.device = "cpu" if device == "cpu" or reason else "cuda"
        if self.device == "cuda" and (reason := self._open_on_cuda(files, device_id(slot, gpus))):
            if device == "cuda":
                raise DeviceError(f"device cuda was asked for, but {reason}")
            log.warning("there is a CUDA device, but %s: running on the CPU", reason)
            self.device = "cpu"
        if self.device == "cpu":
            self._sessions = {name: self._open(name, files, [_CPU]) for name in self._graphs}
        # One CUDA session is one stream: a second caller would only wait inside it.
        self.workers = 1 if self.device == "cuda" else threads or usable_cores()
        if buckets is None:
            buckets = _CUDA_BUCKETS if self.device == "cuda" else ()
        self.buckets = tuple(buckets)

    def run(self, graph: str, inputs: Sequence[Array]) -> list[Array]:
        """The outputs of `graph`, in the manifest's order, for inputs of N rows each.

        Args:
            graph: "encode", "decode", "reconstruct" or "score", where the bundle has it.
            inputs: One array per input, of exactly the manifest's dtype and shape.
        Raises:
            KeyError: the bundle has no such graph.
            ValueError: an input is of another dtype or shape, or N is 0 or differs between inputs.
            BundleError: an output is of another shape than the manifest says; names the file.
            RuntimeError: onnxruntime failed.  The same call is never repeated on another device.
        """
        info = self._graphs[graph]
        if len(inputs) != len(info.inputs):
            raise ValueError(f"{graph} takes {len(info.inputs)} inputs, got {len(inputs)}")
        for array, tensor in zip(inputs, info.inputs, strict=True):
            _check(graph, array, tensor)
        if len({len(array) for array in inputs}) != 1 or len(inputs[0]) == 0:
            raise ValueError(f"{graph}: inputs of {[len(array) for array in inputs]} rows")
        session = self._sessions[graph]
        rows = len(inputs[0])
        size = padded(self.buckets, rows)
        feed = {
            tensor.name: _filled(array, size)
            for array, tensor in zip(inputs, info.inputs, strict=True)
        }
        outputs: list[Array] = session.run([tensor.name for tensor in info.outputs], feed)
        if size > rows:
            outputs = [output[:rows] for output in outputs]
        for array, tensor in zip(outputs, info.outputs, strict=True):
            if not _fits(array, tensor):
                raise BundleError(
                    f"{self.bundle.graph_file(graph)}: {tensor.name} comes out as "
                    f"{_said(str(array.dtype), array.shape)}, "
                    f"but the manifest says {_said(tensor.dtype, tensor.shape)}"
                )
        return outputs

    def warm_up(self, batches: Sequence[int] = (1, 2)) -> None:
        """Run every graph once at each bucket, so that no caller pays for the first time.

        Without buckets at `batches`: there the size makes no difference to the first time.
        """
        for name, info in self._graphs.items():
            for rows in self.buckets or batches:
                inputs = [np.zeros(t.sizes(rows), np.dtype(t.dtype)) for t in info.inputs]
                self.run(name, inputs)

    def close(self) -> None:
        """Let go of the sessions and their memory; `run` raises KeyError afterwards."""
        self._sessions = {}

    def _open(
        self, graph: str, files: Mapping[str, bytes], providers: list[Any]
    ) -> ort.InferenceSession:
        file = self.bundle.graph_file(graph)
        info = self._graphs[graph]
        try:
            session = graph_session(self.bundle, graph, files, _options(), providers)
        # onnxruntime has no base class of its own: Fail, InvalidGraph, NoSuchFile, ... are each
        # an Exception, and an unreadable graph may surface as any of them.
        except Exception as error:
            first = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
            raise BundleError(f"{file}: onnxruntime cannot load it: {first}") from error
        # Without this a failing run would re-create the session on the CPU, in silence.
        session.disable_fallback()
        inputs, outputs = session.get_inputs(), session.get_outputs()
        _check_tensors(f"{file}: its input", inputs, info.inputs)
        if strays := {node.name for node in inputs} - {tensor.name for tensor in info.inputs}:
            raise BundleError(f"{file}: its input {min(strays)} is not in the manifest")
        _check_tensors(f"{file}: its output", outputs, info.outputs)
        return session

    def _open_on_cuda(self, files: Mapping[str, bytes], gpu: int) -> str | None:
        """Open the sessions on CUDA; the reason, and no sessions, where they land elsewhere."""
        with _quietly() as said:
            ort.preload_dlls()
            cuda = (_CUDA, {**_CUDA_OPTIONS, "device_id": str(gpu)})
            sessions = {name: self._open(name, files, [cuda, _CPU]) for name in self._graphs}
        # The list of available providers tells what the wheel was built with; only a session's own
        # list tells what it runs on.
        strays = [name for name, session in sessions.items() if session.get_providers()[0] != _CUDA]
        if not strays:
            self._sessions = sessions
            return None
        detail = " ".join(said.getvalue().split())[:300]
        return "onnxruntime could not load its CUDA libraries" + (f" ({detail})" if detail else "")


def _options() -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    options.add_session_config_entry("session.set_denormal_as_zero", "1")
    return options


def _check_tensors(what: str, nodes: Sequence[Any], tensors: Sequence[TensorInfo]) -> None:
    """Raises BundleError unless a graph's nodes have the manifest's names, dtypes and sizes.

    Sizes that the graph leaves open are not looked at here; `run` looks at what comes out.
    """
    by_name = {node.name: node for node in nodes}
    for tensor in tensors:
        node = by_name.get(tensor.name)
        if node is None:
            names = ", ".join(by_name) or "none"
            raise BundleError(f"{what} {tensor.name} is missing; there is: {names}")
        sizes = tensor.shape if not node.shape else tuple(node.shape)
        fits = len(sizes) == len(tensor.shape) and all(
            not isinstance(found, int) or found == wanted
            for found, wanted in zip(sizes, tensor.shape, strict=True)
        )
        dtype = _DTYPES.get(node.type, node.type)
        if not fits or dtype != tensor.dtype:
            raise BundleError(
                f"{what} {tensor.name} is {_said(dtype, sizes)}, "
                f"but the manifest says {_said(tensor.dtype, tensor.shape)}"
            )


def _check(graph: str, array: Array, tensor: TensorInfo) -> None:
    if not _fits(array, tensor):
        raise ValueError(
            f"{graph} wants {tensor.name} as {_said(tensor.dtype, tensor.shape)}, "
            f"got {array.dtype} {list(array.shape)}"
        )


def _fits(array: Array, tensor: TensorInfo) -> bool:
    return (
        array.dtype == np.dtype(tensor.dtype)
        and array.ndim == len(tensor.shape)
        and array.shape[1:] == tensor.shape[1:]  # whatever the batch
    )


def _said(dtype: str, shape: Sequence[object]) -> str:
    return f"{dtype} [{', '.join(map(str, shape))}]"


def _filled(array: Array, size: int) -> Array:
    """The array, contiguous, with rows of zeros up to `size` of them."""
    if size == len(array):
        return np.ascontiguousarray(array)
    out = np.zeros((size, *array.shape[1:]), array.dtype)
    out[: len(array)] = array
    return out


def device_id(slot: int, gpus: int) -> int:
    """The GPU, of `gpus` there are, that the process in this slot computes on."""
    return slot % gpus if gpus > 0 else 0


def _gpus() -> tuple[int, str | None]:
    """How many GPUs there are, or why there can be no CUDA here, as half a sentence.

    Asks the driver, which is quick and says nothing: onnxruntime, asked for a provider that cannot
    load, fills the log with errors that a machine without a GPU does not deserve.
    """
    if _CUDA not in ort.get_available_providers():
        return 0, "this onnxruntime was built without CUDA"
    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return 0, "there is no NVIDIA driver here"
    count = ctypes.c_int(0)
    found = driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0
    if not found or not count.value:
        return 0, "the NVIDIA driver shows no device"
    return count.value, None


@contextlib.contextmanager
def _quietly() -> Iterator[io.StringIO]:
    """Collect what onnxruntime prints while it looks for CUDA, instead of showing it."""
    said = io.StringIO()
    with _logger_lock, contextlib.redirect_stdout(said):
        ort.set_default_logger_severity(_SILENT)
        try:
            yield said
        finally:
            ort.set_default_logger_severity(_WARNING)
