"""`biject doctor`: what is installed here, what really loads, and a short trial of it.

It is asked where things are broken: onnxruntime and what wants it are imported inside a function.
"""

import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, Final

import click

from serving.cores import usable_cores

PACKAGES: Final = ("biject", "onnxruntime-gpu", "onnxruntime", "numpy", "pillow", "simplejpeg",
                   "bentoml", "uvicorn", "torch", "onnx")  # fmt: skip
SECONDS: Final = 10.0  # of the trial
FILES: Final = 4096  # that a busy server may have open: two for each connection, and some
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
        "gpus": _gpus(),
        "torch": _torch(),
        **_tried(seconds),
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
        "open_files": _open_files(),
        "temporary": _writable(Path(tempfile.gettempdir())),
    }


def _tried(seconds: float) -> dict[str, Any]:
    """What onnxruntime offers, whether CUDA loads, and the trial."""
    try:
        from serving import trial
    except ImportError as error:
        why = f"onnxruntime, or what comes with it, cannot be imported: {error}"
        return {"offered": [], "cuda": why, "memory": None, "costs": None, "trial": {"error": why}}
    return {
        "offered": trial.offered(),
        "cuda": trial.cuda(),
        "memory": trial.free_memory(),
        "costs": _writable(Path(os.environ.get("BIJECT_CACHE") or trial.cache_folder())),
        "trial": trial.trial(seconds),
    }


def advice(found: Mapping[str, Any]) -> Iterator[str]:
    """What to do about what was found, a sentence each; nothing where all is well."""
    packages, system_ = found["packages"], found["system"]
    if packages["onnxruntime"] and packages["onnxruntime-gpu"]:
        yield ("onnxruntime and onnxruntime-gpu are both installed and overwrite each other: "
               "uninstall both, then install biject again")  # fmt: skip
    if found["gpus"] and found["cuda"] is not True:
        yield (f"there is a GPU, but {found['cuda']}: install CUDA and cuDNN with "
               "pip install --constraint constraints.txt '.[gpu]' in the clone, and a driver for "
               "CUDA 13")  # fmt: skip
    if found["gpus"] and found["torch"] == "cpu":
        yield "torch cannot use the GPU: install a torch built with CUDA to train on it"
    if not packages["torch"]:
        yield (
            "train, evaluate and export need more: scripts/install, or in the clone "
            "pip install --constraint constraints.txt '.[export]'"
        )
    if (free := found["memory"]) is not None and free < _ROOM:
        yield f"{free / 2**20:,.0f} MiB of memory are free: serve few models, with --max-models"
    if (files := system_["open_files"]) is not None and files < FILES:
        yield f"{files:,} files may be open: for many connections raise that (ulimit -n {FILES})"
    if not system_["temporary"]:
        yield "the folder for temporary files cannot be written to: name another with TMPDIR"
    if found["costs"] is False:
        yield "the folder of costs cannot be written to: name another with BIJECT_CACHE"
    if "error" in found["trial"]:
        yield "the trial failed: install biject again, and look at what the error names"


def _installed(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


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


def _page(found: Mapping[str, Any]) -> str:
    system_, tried = found["system"], found["trial"]
    free = found["memory"]
    lines = [f"{name}: {version or 'not installed'}" for name, version in found["packages"].items()]
    lines += [
        f"python: {system_['python']}",
        f"platform: {system_['platform']}",
        f"cores: {system_['cores']}",
        f"free memory: {'not known' if free is None else f'{free / 2**20:,.0f} MiB'}",
        f"onnxruntime offers: {', '.join(found['offered'])}",
        f"cuda: {'loads' if found['cuda'] is True else found['cuda']}",
        *(f"gpu: {gpu}" for gpu in found["gpus"]),
        f"torch trains on: {found['torch'] or 'nothing, it is not installed'}",
    ]
    if "error" in tried:
        lines.append(f"trial: failed: {tried['error']}")
    else:
        speeds = ", ".join(f"{n:,} images/s in batches of {rows}"
                           for rows, n in tried["images_per_second"].items())  # fmt: skip
        lines.append(f"trial: {tried['model']} answers as it should on {tried['device']}, {speeds}")
    lines += [f"advice: {sentence}" for sentence in found["advice"] or ["none, all is well"]]
    return "\n".join(lines)
