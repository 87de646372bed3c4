"""scripts/install and scripts/serve as a person types them."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import httpx
import pytest

from oracle import make_oracle
from server_process import free_port

ROOT = Path(__file__).parents[2]
INSTALLED = ROOT / ".venv/biject-installed"
pytestmark = pytest.mark.skipif(
    Path(sys.prefix) != ROOT / ".venv" or not INSTALLED.exists(),
    reason="not running in the .venv that scripts/install makes",
)


def started(arguments: Sequence[str]) -> tuple[subprocess.Popen[str], str]:
    port = free_port()
    environ = {k: v for k, v in os.environ.items() if not k.startswith("BIJECT_")}
    process = subprocess.Popen(
        [str(ROOT / "scripts/serve"), *arguments, "--port", str(port)],
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    return process, f"http://127.0.0.1:{port}"


def models_of(arguments: Sequence[str]) -> tuple[list[str], str]:
    """The models a server started so has, and which one `default` is."""
    process, url = started(arguments)
    try:
        end = time.monotonic() + 60
        while time.monotonic() < end and process.poll() is None:
            try:
                if httpx.get(url + "/readyz").status_code == 200:
                    break
            except httpx.TransportError:
                time.sleep(0.1)
        assert process.poll() is None, process.communicate()[0]
        names = [model["id"] for model in httpx.get(url + "/v1/models").json()["data"]]
        default: str = httpx.get(url + "/v1/models/default").json()["name"]
        return names, default
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)


def test_serve_has_the_model_that_ships() -> None:
    names, default = models_of([])
    assert default == "fashion"
    assert "fashion" in names


def test_serve_takes_a_folder_of_models(tmp_path: Path) -> None:
    make_oracle(tmp_path)
    assert models_of([str(tmp_path)]) == (["oracle"], "oracle")


def test_install_does_nothing_twice() -> None:
    before = INSTALLED.read_text()
    done = subprocess.run(
        [str(ROOT / "scripts/install")], capture_output=True, text=True, timeout=60, check=True
    )
    assert (done.stdout, INSTALLED.read_text()) == ("", before)


def test_install_knows_what_it_can_install() -> None:
    done = subprocess.run(
        [str(ROOT / "scripts/install"), "everything"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2
    assert "usage: scripts/install [serve|all]" in done.stderr
