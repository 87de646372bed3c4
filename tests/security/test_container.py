"""What runs in a container of a Bento, and as whom."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow  # it resolves versions, over the network
def test_a_container_does_not_run_as_root(tmp_path: Path) -> None:
    environ = {**os.environ, "BENTOML_HOME": str(tmp_path), "BENTOML_DO_NOT_TRACK": "True"}
    command = [sys.executable, "-m", "bentoml", "build", "--output", "tag"]
    built = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    (dockerfile,) = tmp_path.glob("bentos/biject/*/env/docker/Dockerfile")
    users = re.findall(r"^USER (\S+)$", dockerfile.read_text(), re.MULTILINE)
    assert users[-1] == "bentoml"
    assert re.search(r"useradd .*\$BENTO_USER_UID", dockerfile.read_text())
