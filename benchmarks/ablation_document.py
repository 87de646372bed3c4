"""docs/ablation.md and its picture, from the records of benchmarks/ablation.py."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from benchmarks.records import ROOT, Record

DOCUMENT: Final = ROOT / "docs" / "ablation.md"
PICTURE: Final = ROOT / "docs" / "images" / "ablation.png"


def write(records: Sequence[Record], document: Path = DOCUMENT) -> None:
    """Write the page and the picture."""
    raise NotImplementedError
