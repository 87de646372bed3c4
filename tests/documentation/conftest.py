"""One server for all documents."""

from collections.abc import Iterator

import pytest

from documentation import console
from documentation.console import Place


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """Where a reader types what the documents show."""
    folder = tmp_path_factory.mktemp("reader")
    console.furnish(folder)
    with console.server(folder) as port:
        yield Place(folder, port)
