"""Schemathesis against a real server: what /openapi.json says is what is answered, and no 5xx."""

import contextlib
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from server_process import running

HERE = Path(__file__).parent
CONFIG = HERE / "fuzzing.toml"
WHOLE = "examples,coverage,fuzzing,stateful"
# It does not know which forms and arrays are valid, so it cannot say which must be accepted.
BLIND = ["--exclude-checks", "positive_data_acceptance,negative_data_rejection"]
LAX = ["--exclude-checks", "negative_data_rejection"]  # BentoML's models take 0 for false


KEY = "fuzzing-7c1d"
LONG = [pytest.mark.slow, pytest.mark.timeout(1800)]
TYPED = "^/(encode|decode|reconstruct|score|interpolate|sample|vary|schema.json|docs.json)$"
TWO = "^/(encode|sample)$"
# A way through each door that a key opens, and past those that it does not.
LOCKED = "^/(v1/models|v1/models/{model}/(encode|load)|v1/embeddings|v2|livez|metrics)$"


@pytest.mark.parametrize(
    ("mode", "bodies", "phases", "examples", "paths"),
    [
        pytest.param("bare", "plain", "examples,fuzzing", 3, "", id="short"),
        pytest.param("keys", "plain", "examples,fuzzing", 2, LOCKED, id="short-keys"),
        pytest.param("bentoml", "plain", "examples,fuzzing", 1, TWO, id="short-bentoml"),
        pytest.param("bare", "plain", WHOLE, 50, "", id="long", marks=LONG),
        pytest.param("bare", "others", WHOLE, 50, "", id="long-others", marks=LONG),
        pytest.param("keys", "plain", WHOLE, 10, "", id="long-keys", marks=LONG),
        pytest.param("bentoml", "plain", WHOLE, 20, TYPED, id="long-bentoml", marks=LONG),
    ],
)
def test_the_server_does_what_its_document_says(
    models: Path,
    serve: Any,
    tmp_path: Path,
    mode: str,
    bodies: str,
    phases: str,
    examples: int,
    paths: str,
) -> None:
    with contextlib.ExitStack() as stack:
        if mode == "bentoml":
            url = stack.enter_context(running("bentoml", models, tmp_path / "log")).url
        else:
            keys = {"api_keys": (KEY,), "admin_keys": ("root",)} if mode == "keys" else {}
            url = f"http://127.0.0.1:{stack.enter_context(serve(**keys)).port}"
        run = subprocess.run(
            [
                *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIG)),
                *("run", f"{url}/openapi.json", "--checks", "all"),
                *("--phases", phases, "--max-examples", str(examples), "--continue-on-failure"),
                *("--suppress-health-check", "all", "--seed", "1", "--request-timeout", "30"),
                *(["--include-path-regex", paths] if paths else []),
                *(["--header", f"Authorization: Bearer {KEY}"] if mode == "keys" else []),
                *(BLIND if bodies == "others" else LAX if mode == "bentoml" else []),
            ],
            cwd=tmp_path,
            env={
                **os.environ,
                "FUZZED": bodies,
                "SCHEMATHESIS_HOOKS": "fuzzing_hooks",
                "PYTHONPATH": str(HERE),
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=1700,
            check=False,
        )
    assert run.returncode == 0, run.stdout[-8000:]
    (generated,) = re.findall(r"(\d+) generated", run.stdout)
    assert int(generated) > 0
