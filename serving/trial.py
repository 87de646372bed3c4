"""What `biject doctor` tries: whether graphs load, answer as they did when made, and how fast."""

import time
from typing import Any, Final

import numpy as np
import onnxruntime as ort

from serving.bundle import Bundle, find_bundles, read
from serving.engine import Engine
from serving.errors import BundleError, DeviceError
from serving.memory import free_memory, needed
from serving.settings import BUNDLES
from serving.throughput import Speed, speed_of
from serving.tuning import cache_folder, noise

__all__ = ["cache_folder", "cuda", "free_memory", "offered", "trial"]

BATCHES: Final = (1, 64)
_GREY: Final = 4.0  # grey levels, and
_NEAR: Final = 1e-2  # anything else: the widest tolerances a bundle may have been written with


def offered() -> list[str]:
    """What onnxruntime says it can run on; whether it can is another matter."""
    found: list[str] = ort.get_available_providers()
    return found


def cuda() -> bool | str:
    """True where graphs really load on CUDA; else why not, as half a sentence."""
    try:
        Engine(_shipped(), device="cuda").close()
    except (BundleError, DeviceError) as error:
        return str(error).removeprefix("device cuda was asked for, but ")
    return True


def trial(seconds: float) -> dict[str, Any]:
    """The answers and speed of a model that ships: {model, device, images_per_second}, or {error}.

    Its four graphs are asked for the golden answers it was written with, then `encode` is run for
    what is left of `seconds`.
    """
    begin = time.monotonic()
    try:
        bundle = _shipped()
        engine = Engine(bundle)
    except (BundleError, DeviceError) as error:
        return {"error": str(error)}
    try:
        try:
            wrong = _wrong(engine)
        # Whatever it is: onnxruntime's errors have no base class, and a traceback is no finding.
        except Exception as error:
            wrong = f"its graphs do not run: {' '.join(str(error).split())[:300] or repr(error)}"
        if wrong is not None:
            return {"error": wrong}
        each = max(seconds - (time.monotonic() - begin), 0.1) / len(BATCHES)
        speeds = {str(rows): round(_speed(engine, rows, each).images) for rows in BATCHES}
    finally:
        engine.close()
    manifest = bundle.manifest
    return {
        "model": f"{manifest.name}@{manifest.version}",
        "device": engine.device,
        "threads": engine.workers,
        "images_per_second": speeds,
    }


def _shipped() -> Bundle:
    """The smallest of the models that come with biject.  Raises BundleError."""
    found = find_bundles(BUNDLES)
    if not found:
        raise BundleError(f"no bundle in {BUNDLES}")
    return min((read(path, name=name, version=n) for name, n, path in found), key=needed)


def _wrong(engine: Engine) -> str | None:
    """Which answer is not the golden one, as a sentence."""
    with np.load(engine.bundle.path / "golden.npz", allow_pickle=False) as golden:
        for graph, info in engine.bundle.manifest.graphs.items():
            answers = engine.run(graph, [golden[f"{graph}.{one.name}"] for one in info.inputs])
            for one, answer in zip(info.outputs, answers, strict=True):
                expected = golden[f"{graph}.{one.name}"].astype(float)
                off = float(np.abs(answer.astype(float) - expected).max())
                # Turned round, since no comparison with what is no number is true.
                if not off <= (_GREY if one.dtype == "uint8" else _GREY / 255 + _NEAR):
                    return f"{graph} gives {one.name} that differ from the golden ones by {off:.3g}"
    return None


def _speed(engine: Engine, rows: int, seconds: float) -> Speed:
    inputs = [noise(tensor, rows) for tensor in engine.bundle.manifest.graphs["encode"].inputs]
    return speed_of(lambda: engine.run("encode", inputs), engine.workers, rows, seconds)
