"""Schemathesis against a real server: what /openapi.json says is what is answered, and no 5xx."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
CONFIG = HERE / "fuzzing.toml"
WHOLE = "examples,coverage,fuzzing,stateful"
# It does not know which forms and arrays are valid, so it cannot say which must be accepted.
BLIND = ["--exclude-checks", "positive_data_acceptance,negative_data_rejection"]


LONG = [pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.mark.parametrize(
    ("bodies", "phases", "examples"),
    [
        pytest.param("plain", "examples,fuzzing", 3, id="short"),
        pytest.param("plain", WHOLE, 50, id="long", marks=LONG),
        pytest.param("others", WHOLE, 50, id="long-others", marks=LONG),
    ],
)
def test_the_server_does_what_its_document_says(
    serve: Any, tmp_path: Path, bodies: str, phases: str, examples: int
) -> None:
    with serve() as running:
        run = subprocess.run(
            [
                *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIG)),
                *("run", f"http://127.0.0.1:{running.port}/openapi.json", "--checks", "all"),
                *("--phases", phases, "--max-examples", str(examples), "--continue-on-failure"),
                *("--suppress-health-check", "all", "--seed", "1", "--request-timeout", "30"),
                *(BLIND if bodies == "others" else []),
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
    assert "0 generated" not in run.stdout
