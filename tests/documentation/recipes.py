"""docs/recipes.md: its commands and programs in their order, and what each prints.

A program is a fenced block in Python; the text block behind it shows what it prints.
"""

import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from documentation import console
from documentation.console import HOST, ROOT, Place

RECIPES: Final = ROOT / "docs" / "recipes.md"
_PROGRAM: Final = re.compile(r"^```python\n(.*?)^```\n```text\n(.*?)^```$", re.M | re.S)
_BLOCK: Final = re.compile(
    r"^```console\n.*?^```$|^```python\n.*?^```(?:\n```text\n.*?^```)?$", re.M | re.S
)


class Step(NamedTuple):
    """A command or program of the document, and the lines that it prints."""

    text: str
    output: tuple[str, ...]
    is_program: bool


def steps(text: str) -> list[Step]:
    """What a reader does, from the first line to the last.

    Raises ValueError for a program that nothing is shown of.
    """
    found = []
    for block in _BLOCK.findall(text):
        if block.startswith("```console"):
            found += [Step(*shown, is_program=False) for shown in console.shown(block)]
        elif (program := _PROGRAM.fullmatch(block)) is not None:
            found.append(Step(program[1], tuple(program[2].splitlines()), is_program=True))
        else:
            raise ValueError(f"what does this print?\n{block}")
    return found


def run(step: Step, place: Place) -> list[str]:
    """The lines that it prints.  Raises RuntimeError, with what it said, if it fails."""
    if not step.is_program:
        return console.run(step.text, folder=place.folder, port=place.port)
    ended = subprocess.run(
        [sys.executable, "-c", step.text.replace(HOST, f"localhost:{place.port}")],
        cwd=place.folder,
        env=console.environ(),
        capture_output=True,
        timeout=60,
        check=False,
    )
    if ended.returncode != 0:
        raise RuntimeError(f"{step.text}\nended with:\n{ended.stderr.decode()}")
    return ended.stdout.decode().splitlines()


def filled(text: str, printed: Callable[[Step], Sequence[str]]) -> str:
    """The text with what `printed` says of each step, in place of what stood there."""
    said = {step.text: printed(step) for step in steps(text)}

    def shown(match: re.Match[str]) -> str:
        lines = "".join(f"{line}\n" for line in said[match[1]])
        return f"```python\n{match[1]}```\n```text\n{lines}```"

    return _PROGRAM.sub(shown, console.filled(text, said.__getitem__))
