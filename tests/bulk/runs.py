"""The command as a process, and inputs of many images that cost little."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

ROOT: Final = Path(__file__).resolve().parents[2]
_LIMIT_S: Final = 240


def environ() -> dict[str, str]:
    """As little of this process as will do."""
    path = [str(ROOT), str(ROOT / "tests"), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path), "OMP_NUM_THREADS": "1"}


def command(*arguments: Any) -> list[str]:
    return [sys.executable, "-m", "biject", *map(str, arguments)]


def run(*arguments: Any) -> "subprocess.CompletedProcess[str]":
    """The command, ended; it says what is wrong in sentences."""
    ended = subprocess.run(
        command(*arguments), env=environ(), capture_output=True, text=True, timeout=_LIMIT_S
    )
    assert "Traceback" not in ended.stderr, ended.stderr
    return ended


@contextmanager
def begun(*arguments: Any) -> Iterator["subprocess.Popen[str]"]:
    """The command, at work; it is over when the block ends."""
    process = subprocess.Popen(
        command(*arguments),
        env=environ(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def pictures(count: int, seed: int = 0) -> npt.NDArray[np.uint8]:
    """Noise of the oracle's size."""
    return np.random.default_rng(seed).integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)


def archive(path: Path, count: int) -> Path:
    """So many in an npz."""
    np.savez(path, images=pictures(count))
    return path


def finished(out: Path) -> int:
    """How many parts are done on the way to `out`."""
    return len(list(out.with_name(f"{out.name}.parts").glob("[0-9]*.parquet")))
