"""How much memory is left, and whether a bundle fits into it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from serving.bundle import Bundle
from serving.errors import BundleError

_MEMINFO: Final = Path("/proc/meminfo")
_CGROUP: Final = Path("/sys/fs/cgroup")
_WORK: Final = 64 * 2**20  # bytes for what graphs compute with, at least


def check_fits(bundle: Bundle, *, free: int | None) -> None:
    """Raises BundleError, with both figures, if the sessions of `bundle` need more than is free.

    Args:
        bundle: An opened bundle.
        free: Bytes, as `free_memory` says; None: not known, and nothing is refused.
    """
    need = needed(bundle)
    if free is not None and need > free:
        raise BundleError(
            f"{bundle.path}: its sessions take up to {need / 2**20:,.0f} MiB of memory, "
            f"{free / 2**20:,.0f} MiB are free"
        )


def crowded(here: Sequence[Bundle], bundle: Bundle, *, models: int, size: int) -> str | None:
    """Why `bundle` is more than may be loaded beside those that are, as a sentence; else None.

    Args:
        here: The bundles that are loaded.
        bundle: Another one.
        models: Most bundles at a time; 0: any number.
        size: Most bytes of all together, as `needed` says; 0: any.
    """
    if models and len(here) >= models:
        return f"at most {models} are loaded at a time"
    need, taken = needed(bundle), sum(map(needed, here))
    if size and taken + need > size:
        return (
            f"it may take {need / 2**20:,.0f} MiB, and of {size / 2**20:,.0f} MiB for all "
            f"{taken / 2**20:,.0f} are taken"
        )
    return None


def needed(bundle: Bundle) -> int:
    """Bytes that the sessions of all graphs take at most: each holds weights of its own.

    As they were read: what became of the files since makes no difference to what is loaded.
    """
    manifest, sizes = bundle.manifest, bundle.sizes
    shared = sizes[manifest.weights.file] if manifest.weights else 0
    return _WORK + sum(sizes[graph.file] + shared for graph in manifest.graphs.values())


def free_memory(meminfo: Path = _MEMINFO, cgroup: Path = _CGROUP) -> int | None:
    """Bytes that this process can still take: the machine's, cut by a container's limit.

    None where the system does not say (other systems than Linux).
    """
    try:
        lines = dict(line.split(":", 1) for line in meminfo.read_text("ascii").splitlines())
        free = int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return None
    left = _left_in_cgroup(cgroup)
    return free if left is None else min(free, left)


def _left_in_cgroup(cgroup: Path) -> int | None:
    """What the limit of a control group (version 2) leaves; None where there is no limit.

    Cached files count as used there, but are given back when memory is wanted.
    """
    try:
        limit = (cgroup / "memory.max").read_text("ascii").strip()
        if limit == "max":
            return None
        used = int((cgroup / "memory.current").read_text("ascii"))
        stat = (cgroup / "memory.stat").read_text("ascii").splitlines()
        cached = next((int(line.split()[1]) for line in stat if line.startswith("file ")), 0)
        return max(0, int(limit) - used + cached)
    except (OSError, ValueError):
        return None
