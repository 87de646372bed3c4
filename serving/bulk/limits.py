"""What a run can be measured by: the engine alone, and the decoders alone, on the same machine."""

import time
from typing import Final, NamedTuple

import numpy as np

from serving.bulk.ledger import Ledger
from serving.bulk.pipeline import Pipeline
from serving.bundle import read
from serving.cores import usable_cores
from serving.images import Pixels
from serving.throughput import raw_session, settings_of, speed_of

_IMAGES: Final = 4096  # that the decoders are measured with, or all there are
_BATCHES: Final = (32, 64, 128)
_SECONDS: Final = 1.0


class Limits(NamedTuple):
    """Images a second."""

    engine: float  # a bare onnxruntime session, as fast as it can be called
    decoders: float  # files to pixels
    shared: bool  # whether both compute on the same cores

    @property
    def together(self) -> float:
        """What both can do at most: on the same cores an image takes the time of both."""
        if self.shared:
            return 1 / (1 / self.engine + 1 / self.decoders)
        return min(self.engine, self.decoders)

    def said(self, rate: float) -> str:
        """The rate beside them."""
        return (
            f"{rate:,.0f} images/s; the engine alone {self.engine:,.0f} "
            f"({rate / self.engine:.2f} of it), decoding alone {self.decoders:,.0f} "
            f"({rate / self.decoders:.2f} of it), both together at most {self.together:,.0f} "
            f"({rate / self.together:.2f} of it)"
        )


def measured(pipeline: Pipeline, ledger: Ledger) -> Limits | None:
    """Both, with the first images of the run; None if none of them can be read."""
    parts = range(-(-_IMAGES // ledger.rows(0)))
    inputs = [one for part in parts if part < ledger.parts for one in ledger.inputs(part)]
    for _ in pipeline.decode(inputs[: pipeline.block_rows]):
        pass  # a process may have to begin
    begin = time.perf_counter()
    blocks = [block.copy() for block in pipeline.decode(inputs)]
    decoders = len(inputs) / (time.perf_counter() - begin)
    rows = np.concatenate(blocks)
    if not len(rows):
        return None
    return Limits(_engine(pipeline, ledger, rows), decoders, shared=pipeline.pair.device == "cpu")


def _engine(pipeline: Pipeline, ledger: Ledger, rows: Pixels) -> float:
    """The fastest way to call a session of the verb's graph with these images."""
    job, device = ledger.job, pipeline.pair.device
    bundle = read(job.bundle)
    name = job.manifest.graphs[job.verb].inputs[0].name
    best = 0.0
    for setting in settings_of(usable_cores(), device):
        session = raw_session(bundle, job.verb, setting, device)
        for batch in _BATCHES:
            feed = {name: np.resize(rows, (batch, *rows.shape[1:]))}
            speed = speed_of(
                lambda s=session, f=feed: s.run(None, f),  # type: ignore[misc]
                setting.callers, batch, _SECONDS,
            )  # fmt: skip
            best = max(best, speed.images)
    return best
