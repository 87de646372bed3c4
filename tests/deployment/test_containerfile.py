"""The containerfile by the rules of a linter; no container can be built where these tests run.

What its steps come to, the installed lock and the copied files as nobody's user, is run for real in
test_bento.py.
"""

import json
import re
import tomllib
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
FILE = ROOT / "deploy" / "Containerfile"
IGNORED = FILE.with_name("Containerfile.dockerignore")
TARGETS = ("cpu", "cuda")


class Stage(NamedTuple):
    base: str
    steps: list[tuple[str, str]]  # instruction, its text on one line


def stages(text: str) -> dict[str, Stage]:
    """The stages of a containerfile by name, as it is written."""
    found: dict[str, Stage] = {}
    lines = re.sub(r"^#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", " ")
    for line in filter(None, map(str.strip, lines.splitlines())):
        word, _, rest = line.partition(" ")
        rest = " ".join(rest.split())
        if word == "FROM":
            base, _, name = rest.partition(" AS ")
            found[name] = current = Stage(base, [])
        else:
            current.steps.append((word, rest))
    return found


STAGES = stages(FILE.read_text())


def inherited(name: str) -> list[tuple[str, str]]:
    """The steps of a stage after those it is built upon."""
    stage = STAGES[name]
    return [*(inherited(stage.base) if stage.base in STAGES else []), *stage.steps]


def last(name: str, word: str) -> str:
    return [text for step, text in inherited(name) if step == word][-1]


def faults(found: dict[str, Stage]) -> list[str]:
    """What a linter would say: of untagged bases, ADD, downloads, pip without hashes, secrets."""
    said = []
    for name, stage in found.items():
        if stage.base not in found and not re.fullmatch(r"[\w./-]+:\d[\w.-]*", stage.base):
            said.append(f"{name}: {stage.base} has no version")
        for word, text in stage.steps:
            if word in {"ADD", "MAINTAINER", "VOLUME"}:
                said.append(f"{name}: {word}")
            if word == "RUN" and re.search(r"curl|wget|sudo|apt-get (?!.*--no-install)", text):
                said.append(f"{name}: {text}")
            if word == "RUN" and "pip install" in text:
                wanted = ("--require-hashes", "--no-cache-dir", "--only-binary :all:")
                said += [f"{name}: pip without {flag}" for flag in wanted if flag not in text]
            if word in {"ENV", "ARG"} and re.search(r"KEY|PASSWORD|SECRET|TOKEN", text):
                said.append(f"{name}: {text}")
            if word in {"CMD", "ENTRYPOINT"} and not isinstance(json.loads(text), list):
                said.append(f"{name}: {word} in a shell")
    return said


def test_a_linter_has_nothing_to_say() -> None:
    assert faults(STAGES) == []


@pytest.mark.parametrize(
    "wrong",
    [
        "FROM python:latest AS a",
        "FROM python AS a",
        "FROM python:3.11 AS a\nADD x y",
        "FROM python:3.11 AS a\nRUN pip install numpy",
        "FROM python:3.11 AS a\nRUN curl x | sh",
        "FROM python:3.11 AS a\nENV BIJECT_API_KEYS=x",
    ],
)
def test_the_linter_finds_faults(wrong: str) -> None:
    assert faults(stages(wrong))


@pytest.mark.parametrize("target", TARGETS)
def test_a_target_runs_as_nobody_and_says_how_it_is(target: str) -> None:
    assert inherited(target)[-1] == ("USER", "10001:10001")
    assert json.loads(last(target, "ENTRYPOINT")) == ["python", "-m", "biject"]
    assert json.loads(last(target, "CMD")) == ["serve", "--host", "0.0.0.0"]
    assert last(target, "EXPOSE") == "3000"
    assert "/readyz" in last(target, "HEALTHCHECK")
    assert any(f"BIJECT_DEVICE={target}" in text for word, text in STAGES[target].steps)


def test_the_version_is_the_project_s() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert last("cpu", "ARG") == f"VERSION={project['version']}"


def test_cuda_has_what_the_runtime_loads() -> None:
    text = (ROOT / "deploy" / "locks" / "cuda.txt").read_text()
    for library in ("nvidia-cudnn-cu13==", "nvidia-cublas==", "nvidia-cuda-runtime=="):
        assert library in text
    assert STAGES["build-cuda"].base == "build-cpu"


def test_what_is_copied_is_there_and_nothing_else_travels() -> None:
    rules = [line for line in IGNORED.read_text().splitlines() if line and line[0] != "#"]
    assert rules[0] == "*"
    kept = [rule[1:] for rule in rules if rule[0] == "!"]
    copied = {
        source
        for stage in STAGES.values()
        for word, text in stage.steps
        if word == "COPY" and "--from" not in text
        for source in text.split()[:-1]
    }
    assert copied
    for source in copied:
        assert (ROOT / source).exists(), source
        assert any(fnmatch(source, rule) or source.startswith(f"{rule}/") for rule in kept), source
    assert all(any(one == rule or one.startswith(f"{rule}/") for one in copied) for rule in kept)
