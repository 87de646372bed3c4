"""Memory that a run keeps: what the kernel says of a process that frees and asks again."""

import platform
import subprocess
import sys

import pytest

FREES_AND_ASKS = """
from resource import RUSAGE_SELF, getrusage
import torch
from models.training.memory import keep_memory

def pages():
    before = getrusage(RUSAGE_SELF).ru_minflt
    torch.ones(2**25)  # 128 MiB
    return getrusage(RUSAGE_SELF).ru_minflt - before

pages()
given_back = pages()
keep_memory()
pages()
print(given_back, pages())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc's memory can be kept")
def test_what_a_step_frees_the_next_one_has() -> None:
    command = [sys.executable, "-c", FREES_AND_ASKS]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    given_back, kept = map(int, done.stdout.split())
    assert given_back >= 64  # of 2 MiB at most
    assert kept < 16
