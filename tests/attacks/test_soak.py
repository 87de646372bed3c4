"""The soak, shorter."""

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_ten_thousand_rude_requests_leave_the_server_as_it_was() -> None:
    command = [sys.executable, str(Path(__file__).with_name("soak.py")), "--requests", "10000"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.endswith("all as it must be\n")
