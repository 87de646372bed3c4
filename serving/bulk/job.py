"""What a run computes: all that its rows depend on, and so what must not change when it goes on."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from serving.bundle import MANIFEST, Manifest, sha256_of
from serving.engine import Device
from serving.images import ImageSpec

_FORMAT: Final = 1  # of the rows and of what is kept beside them
_PART_BYTES: Final = 2**26  # pixels
_PART_ROWS: Final = 1024  # at most: what a kill can cost, and the rows between two writes


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """One verb over images."""

    bundle: Path
    manifest: Manifest
    device: Device
    verb: str  # encode, score or reconstruct
    parameters: Mapping[str, Any]  # of the verb
    images: tuple[Path, ...]
    out: Path

    @property
    def ref(self) -> str:
        return f"{self.manifest.name}@{self.manifest.version}"

    @property
    def spec(self) -> ImageSpec:
        """What images are brought to."""
        assert self.manifest.image is not None  # a bundle of vectors has been refused
        return self.manifest.image

    @property
    def item_bytes(self) -> int:
        """Pixels of one image."""
        return math.prod(self.spec.shape)

    @property
    def part_rows(self) -> int:
        """Images that are computed and written together."""
        return max(16, min(_PART_ROWS, _PART_BYTES // self.item_bytes))

    def identity(self) -> dict[str, str]:
        """What the rows depend on, by what a person would call it."""
        return {
            "format": str(_FORMAT),
            "verb": self.verb,
            "options": json.dumps(dict(self.parameters), sort_keys=True),
            "model": f"{self.ref}, manifest {sha256_of(self.bundle / MANIFEST)[:16]}",
            "images": ", ".join(ascii(str(path.absolute()))[1:-1] for path in self.images),
        }
