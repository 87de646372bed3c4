"""`biject` itself: help and wrong use, also where torch is not installed."""

import subprocess
import sys
from pathlib import Path

import pytest

import biject

ROOT = Path(__file__).parents[2]
WITHOUT_TORCH = "import sys; sys.modules['torch'] = None; import biject; biject.main()"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The command in an environment that lacks torch."""
    command = [sys.executable, "-c", WITHOUT_TORCH, *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)


def test_help_names_every_verb_and_needs_no_torch() -> None:
    done = run("--help")
    assert done.returncode == 0, done.stderr
    for verb in biject.ROOMS:
        assert f"\n  {verb} " in done.stdout


def test_serving_verbs_need_no_torch() -> None:
    assert run("encode", "--help").returncode == 0
    assert run("serve", "--help").returncode == 0


@pytest.mark.parametrize("verb", ["train", "export", "evaluate", "calibrate"])
def test_a_verb_that_needs_torch_says_how_to_get_it(verb: str) -> None:
    done = run(verb, "--help")
    assert done.returncode == 2
    assert f"biject {verb} needs torch: run scripts/install, or" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unknown_verb() -> None:
    done = run("dream")
    assert done.returncode == 2
    assert "No such command" in done.stderr
