"""What verbs run graphs with, and what they give: everything per item has N rows."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from serving import scoring
from serving.queueing import Answer
from serving.tiles import Whole

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]


class Runner(Protocol):
    """Runs one graph of one model."""

    async def run(self, graph: str, *inputs: Array) -> Answer: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Usage:
    """What the runs behind a result cost."""

    batch: int = 0  # rows of the largest batch it was in
    queue_ms: float = 0.0  # one run after another
    compute_ms: float = 0.0

    def plus(self, more: "Answer | Usage") -> "Usage":
        """This and one more run, or several."""
        return Usage(
            batch=max(self.batch, more.batch),
            queue_ms=self.queue_ms + more.queue_ms,
            compute_ms=self.compute_ms + more.compute_ms,
        )


NOTHING: Final = Usage()


@dataclass(frozen=True, kw_only=True, slots=True)
class Encoded:
    latents: Floats
    usage: Usage


@dataclass(frozen=True, kw_only=True, slots=True)
class Made:
    """Images (or vectors) that a model made."""

    items: Array
    usage: Usage
    seed: int | None = None  # what they were drawn with


@dataclass(frozen=True, kw_only=True, slots=True)
class Reconstructed:
    items: Array
    latents: Floats
    l1: Floats  # mean |x - item|, images in units of 255; unrefined the score graph's term l1
    usage: Usage
    # Of a refinement, which step was kept of each item; 0 is G(E(x)).
    steps: npt.NDArray[np.int64] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Scored:
    items: Array | Sequence[Array]  # as given; frames [h, w, C] each
    terms: Floats  # [N, T] in the manifest's order, higher is more abnormal
    heat: Floats | Sequence[Floats]  # [N, H, W], of frames [h, w] each
    by: str
    column: int  # of `by` in `terms`
    verdict: scoring.Verdict
    usage: Usage
    whole: Whole | None = None  # where frames were cut: of which tiles, and the worst of them


Result = Encoded | Made | Reconstructed | Scored
