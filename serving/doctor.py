"""`biject doctor`: what is installed here, what really loads, and a short trial of it."""

import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, Final

import click
import numpy as np
import onnxruntime as ort

from serving.bundle import Bundle, find_bundles, read
from serving.cores import usable_cores
from serving.engine import Engine
from serving.errors import BundleError, DeviceError
from serving.memory import free_memory, needed
from serving.settings import BUNDLES
from serving.throughput import Speed, speed_of
from serving.tuning import cache_folder, noise

PACKAGES: Final = ("biject", "onnxruntime-gpu", "onnxruntime", "numpy", "pillow", "simplejpeg",
                   "bentoml", "uvicorn", "torch", "onnx")  # fmt: skip
SECONDS: Final = 10.0  # of the trial
BATCHES: Final = (1, 64)
FILES: Final = 4096  # that a busy server may have open: two for each connection, and some
_GREY: Final = 4.0  # grey levels, and
_NEAR: Final = 1e-2  # anything else: the widest tolerances a bundle may have been written with
_ROOM: Final = 2**30  # bytes that a server is comfortable with
_TORCH: Final = (
    "import torch; print(torch.cuda.get_device_name() if torch.cuda.is_available() else 'cpu')"
)


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print figures as JSON.")
@click.option("--seconds", type=click.FloatRange(0, min_open=True), default=SECONDS,
              show_default=True, help="Of the trial.")  # fmt: skip
def doctor(as_json: bool, seconds: float) -> None:
    """Say what is installed here and what of it really loads, try it, and advise.

    Exits with 1 if a model that ships does not open, or answers otherwise than when it was made.

    \b
    Example:
        biject doctor
    """
    found: dict[str, Any] = {
        "system": system(),
        "packages": {name: _installed(name) for name in PACKAGES},
        "devices": devices(),
        "trial": trial(seconds),
    }
    found["advice"] = list(advice(found))
    click.echo(json.dumps(found, indent=1) if as_json else _page(found))
    if "error" in found["trial"]:
        raise click.exceptions.Exit(1)


def system() -> dict[str, Any]:
    """The machine, as this process sees it."""
    return {
        "python": f"{platform.python_version()}, {sys.executable}",
        "platform": platform.platform(),
        "cores": usable_cores(),
        "free_memory": free_memory(),
        "open_files": _open_files(),
        "writable": {
            "temporary": _writable(Path(tempfile.gettempdir())),
            "costs": _writable(cache_folder()),
        },
    }


def devices() -> dict[str, Any]:
    """What onnxruntime says it has, what of it loads, the GPUs, and what torch would train on."""
    return {
        "offered": ort.get_available_providers(),
        "cuda": _cuda(),
        "gpus": _gpus(),
        "torch": _torch(),
    }


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
        if wrong := _wrong(engine):
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


def advice(found: Mapping[str, Any]) -> Iterator[str]:
    """What to do about what was found, a sentence each; nothing where all is well."""
    packages, devices_, system_ = found["packages"], found["devices"], found["system"]
    if packages["onnxruntime"] and packages["onnxruntime-gpu"]:
        yield ("onnxruntime and onnxruntime-gpu are both installed and overwrite each other: "
               "uninstall both, then install biject again")  # fmt: skip
    if devices_["gpus"] and devices_["cuda"] is not True:
        yield (f"there is a GPU, but {devices_['cuda']}: install CUDA and cuDNN with "
               "pip install 'biject[gpu]', and a driver for CUDA 13")  # fmt: skip
    if devices_["gpus"] and devices_["torch"] == "cpu":
        yield "torch cannot use the GPU: install a torch built with CUDA to train on it"
    if not packages["torch"]:
        yield "train, evaluate and export need more: pip install 'biject[export]'"
    if (free := system_["free_memory"]) is not None and free < _ROOM:
        yield f"{free / 2**20:,.0f} MiB of memory are free: serve few models, with --max-models"
    if (files := system_["open_files"]) is not None and files < FILES:
        yield f"{files:,} files may be open: for many connections raise that (ulimit -n {FILES})"
    for place, writable in system_["writable"].items():
        if not writable:
            what = "TMPDIR" if place == "temporary" else "BIJECT_CACHE"
            yield f"the {place} folder cannot be written to: name another with {what}"
    if "error" in found["trial"]:
        yield "the trial failed: install biject again, and look at what the error names"


def _installed(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _cuda() -> bool | str:
    """True where graphs really load on CUDA; else why not, as half a sentence."""
    try:
        Engine(_shipped(), device="cuda").close()
    except (BundleError, DeviceError) as error:
        return str(error).removeprefix("device cuda was asked for, but ")
    return True


def _gpus() -> list[str]:
    """Name, driver and memory of each GPU that the driver shows."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    asked = [tool, "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
    done = subprocess.run(asked, capture_output=True, text=True)
    return done.stdout.splitlines() if done.returncode == 0 else []


def _torch() -> str | None:
    """The device that torch would take, asked of a process of its own; None where it is not."""
    if _installed("torch") is None:
        return None
    done = subprocess.run([sys.executable, "-c", _TORCH], capture_output=True, text=True)
    if done.returncode == 0:
        return done.stdout.strip()
    return f"it cannot be imported: {(done.stderr.strip().splitlines() or ['no reason given'])[-1]}"


def _open_files() -> int | None:
    if sys.platform == "win32":
        return None
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if soft == resource.RLIM_INFINITY else soft


def _writable(folder: Path) -> bool:
    """Whether this user can write there, or make it."""
    there = next(place for place in (folder, *folder.parents) if place.exists())
    return there.is_dir() and os.access(there, os.W_OK | os.X_OK)


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
                if off > (_GREY if one.dtype == "uint8" else _GREY / 255 + _NEAR):
                    return f"{graph} gives {one.name} that differ from the golden ones by {off:.3g}"
    return None


def _speed(engine: Engine, rows: int, seconds: float) -> Speed:
    inputs = [noise(tensor, rows) for tensor in engine.bundle.manifest.graphs["encode"].inputs]
    return speed_of(lambda: engine.run("encode", inputs), engine.workers, rows, seconds)


def _page(found: Mapping[str, Any]) -> str:
    system_, devices_, tried = found["system"], found["devices"], found["trial"]
    free = system_["free_memory"]
    lines = [f"{name}: {version or 'not installed'}" for name, version in found["packages"].items()]
    lines += [
        f"python: {system_['python']}",
        f"platform: {system_['platform']}",
        f"cores: {system_['cores']}",
        f"free memory: {'not known' if free is None else f'{free / 2**20:,.0f} MiB'}",
        f"onnxruntime offers: {', '.join(devices_['offered'])}",
        f"cuda: {'loads' if devices_['cuda'] is True else devices_['cuda']}",
        *(f"gpu: {gpu}" for gpu in devices_["gpus"]),
        f"torch trains on: {devices_['torch'] or 'nothing, it is not installed'}",
    ]
    if "error" in tried:
        lines.append(f"trial: failed: {tried['error']}")
    else:
        speeds = ", ".join(f"{n:,} images/s in batches of {rows}"
                           for rows, n in tried["images_per_second"].items())  # fmt: skip
        lines.append(f"trial: {tried['model']} answers as it should on {tried['device']}, {speeds}")
    lines += [f"advice: {sentence}" for sentence in found["advice"] or ["none, all is well"]]
    return "\n".join(lines)
