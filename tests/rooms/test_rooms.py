"""Between rooms only files pass: importing one wakes none of the neighbours it may not know."""

import json
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SERVING_FOR_MODELS = {
    "serving",
    "serving.cores",  # how many threads decode and train
    "serving.images",
    "serving.containers",  # what serving.images is made of
    "serving.image_spec",
    "serving.jpeg",
    "serving.errors",
    "serving.tables",  # what a table's columns become
}
BARRED = {
    "serving": {"torch", "onnx", "models", "export"},
    "models": {"onnx", "onnxruntime", "bentoml", "starlette", "export"},
    "export": {"bentoml", "starlette"},
}


def modules(room: str) -> tuple[str, ...]:
    """Every module of a room, by its name."""
    files = sorted((ROOT / room).rglob("*.py"))
    names = (".".join(file.relative_to(ROOT).with_suffix("").parts) for file in files)
    return tuple(name.removesuffix(".__init__") for name in names)


@cache
def loaded(names: tuple[str, ...]) -> frozenset[str]:
    """What a fresh process has loaded once it has imported these."""
    code = (
        "import importlib, json, sys\n"
        "for name in json.loads(sys.argv[1]): importlib.import_module(name)\n"
        "print(json.dumps(sorted(sys.modules)))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, json.dumps(names)], cwd=ROOT, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    return frozenset(json.loads(run.stdout.splitlines()[-1]))


@pytest.mark.parametrize("room", BARRED)
def test_importing_a_room_does_not_wake_its_neighbours(room: str) -> None:
    assert loaded(modules(room)) & BARRED[room] == set()
    assert set(modules(room)) <= loaded(modules(room))  # or nothing was tried


def test_the_bare_server_loads_nothing_of_bentoml_or_opentelemetry() -> None:
    tops = {name.split(".")[0] for name in loaded(("serving.bare",))}
    assert tops & {"bentoml", "_bentoml_sdk", "_bentoml_impl", "opentelemetry"} == set()
    assert "uvicorn" in tops


def test_models_knows_of_serving_only_how_data_are_read() -> None:
    found = {name for name in loaded(modules("models")) if name.split(".")[0] == "serving"}
    assert found == SERVING_FOR_MODELS


def test_what_needs_only_numpy_and_pillow_loads_nothing_heavier() -> None:
    light = ("serving.images", "serving.latents", "serving.scoring", "serving.rendering")
    heavy = {"onnxruntime", "bentoml", "starlette", "scipy", "torch", "click"}
    assert loaded((*light, "serving.bundle")) & heavy == set()
