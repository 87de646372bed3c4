"""Servers to attack: the oracle's bundle, with whatever settings a test wants."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from http_api.conftest import Served, served
from oracle import make_oracle
from serving.settings import Settings

Serve = Callable[..., AbstractContextManager[Served]]


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """oracle/1, 8 x 8 x 3, calibrated for l1."""
    folder = tmp_path_factory.mktemp("guarded")
    make_oracle(folder, calibration={"l1": [i / 1000 for i in range(99)]})
    return folder


@pytest.fixture(scope="session")
def serve(models: Path) -> Serve:
    """Start a server of `models`, for a block."""

    def start(**settings: Any) -> AbstractContextManager[Served]:
        return served(Settings(models=models, **settings))

    return start
