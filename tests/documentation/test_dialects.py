"""docs/dialects.md against what the routes say of themselves."""

import re
from typing import Any

import pytest

from documentation.console import ROOT
from serving.routes import oip_operations, openai_operations
from serving.routes.openapi import Operation
from serving.settings import Settings

TEXT = (ROOT / "docs" / "dialects.md").read_text(encoding="utf-8")
OPENAI = openai_operations.of(Settings())
OIP = oip_operations.of(Settings())


def fields(operation: Operation) -> set[str]:
    (media,) = operation.body.values()
    schema: dict[str, Any] = media.schema
    return {*schema["properties"]}


def rows(heading: str) -> set[str]:
    """The names in the first cells of the table that begins so."""
    table = TEXT.partition(f"| {heading} |")[2].partition("\n\n")[0]
    cells = [line.split("|")[1] for line in table.splitlines()[2:]]
    return {name for cell in cells for name in re.findall(r"`([^`]+)`", cell)}


def test_every_field_of_openais_is_documented() -> None:
    embeddings, generations, variations = OPENAI
    assert rows("field of embeddings") == fields(embeddings) | {"dimensions"}
    assert rows("field of generations, variations") == fields(generations) | fields(variations)


@pytest.mark.parametrize("operation", OPENAI, ids=lambda one: str(one.path))
def test_every_path_of_openais_is_documented(operation: Operation) -> None:
    assert f"`{operation.method.upper()} {operation.path}`" in TEXT


def test_every_path_of_the_protocol_is_documented() -> None:
    table = TEXT.partition("## Open Inference Protocol")[2].partition("\n\n- ")[0]
    named = {path for path in re.findall(r"(/[\w/{}]+)`", table)}
    ends = {one.path.rpartition("/")[2] for one in OIP} - {"v2", "{model}", "{version}"}
    assert ends <= {path.rpartition("/")[2] for path in named}
