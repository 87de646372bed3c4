"""How many cores this process may use: for training and serving alike."""

import contextlib
import os


def usable_cores() -> int:
    """How many cores this process may use: the affinity mask, cut by a cgroup's CPU quota."""
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    with contextlib.suppress(OSError, ValueError):
        with open("/sys/fs/cgroup/cpu.max", encoding="ascii") as file:
            quota, period = file.read().split()
        if quota != "max":  # "150000 100000" is one and a half cores: one thread keeps within it
            cores = min(cores, max(1, int(quota) // int(period)))
    return max(1, cores)
