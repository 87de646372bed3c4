"""Fixtures for all tests.  They are shared: a test that damages a bundle makes its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from oracle import make_oracle


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Whatever is cached, here or in a process started from here, stays out of the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def oracle_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder that holds oracle/1 (8 x 8 x 3, Z = 48), see tests/oracle.py."""
    folder = tmp_path_factory.mktemp("models")
    make_oracle(folder)
    return folder


@pytest.fixture(scope="session")
def oracle_bundle(oracle_models: Path) -> Path:
    """The bundle oracle/1."""
    return oracle_models / "oracle" / "1"
