"""Do the written graphs answer as torch does?  Asked of every bundle before it may exist.

The graphs are run from their files by the engine that will serve them, on the CPU.  Torch runs
the networks as they were trained, before folding, so this covers folding, ONNX, weights.bin and
onnxruntime at once.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch

from export import probes
from export.errors import ParityFailure
from export.graphs import Graph, Pair
from serving.bundle import Bundle
from serving.engine import Engine

Array = npt.NDArray[Any]

BATCHES: Final = (1, 3, 64)
GREY_LEVELS: Final = 1.0  # of an image's pixel
LATENTS: Final = 1e-4
TERMS: Final = 1e-3  # a pixel that rounds the other way moves them; relative for values above 1
HEAT: Final = 1.0 / 255.0 + 1e-6  # one grey level
VECTORS: Final = 1e-4  # relative for values above 1


@dataclass(frozen=True, kw_only=True, slots=True)
class OutputError:
    """The largest errors of one output of one graph over all batches.

    They are NaN where one side is not a number and the other is.
    """

    graph: str
    output: str
    absolute: float  # what the manifest says
    judged: float  # the same, relative for values above 1 where the tolerance is
    tolerance: float  # of `judged`

    @property
    def holds(self) -> bool:
        """Whether the output is within its tolerance; a NaN never is."""
        return self.judged <= self.tolerance

    def __str__(self) -> str:
        kind = "" if self.judged == self.absolute else " relatively"
        by = f"{self.judged:.3g}{kind}, allowed are {self.tolerance:.3g}"
        return f"{self.graph}'s {self.output} by {by}"


def expected(graph: Graph, *given: Array) -> list[Array]:
    """What torch answers to these inputs, in the order of `graph.outputs`."""
    with torch.no_grad():
        outputs = graph(*map(torch.from_numpy, given))
    return [o.numpy() for o in (outputs if isinstance(outputs, tuple) else (outputs,))]


def measure(bundle: Bundle, pair: Pair, graphs: Mapping[str, Graph]) -> list[OutputError]:
    """The error of every output of the bundle's graphs against `graphs` in torch."""
    engine = Engine(bundle, device="cpu", threads=1)
    worst: dict[tuple[str, str], Array] = {}
    try:
        for name, graph in graphs.items():
            for batch in BATCHES:
                given = probes.given(graph, pair, batch, seed=batch)
                pairs = zip(expected(graph, *given), engine.run(name, given), strict=True)
                for output, (wanted, got) in zip(graph.outputs, pairs, strict=True):
                    key = name, output
                    unit = _unit(pair, output)
                    errors = np.array(_largest_errors(output, wanted, got, unit))
                    worst[key] = np.maximum(worst.get(key, 0.0), errors)  # keeps a NaN
    finally:
        engine.close()
    return [
        OutputError(
            graph=graph,
            output=output,
            absolute=float(absolute),
            judged=float(judged),
            tolerance=_tolerance(pair, output),
        )
        for (graph, output), (absolute, judged) in worst.items()
    ]


def of_terms(wanted: Array, got: Array) -> OutputError:
    """The error of the terms of one batch, [N, T] each."""
    absolute, judged = _largest_errors("terms", wanted, got)
    return OutputError(
        graph="score", output="terms", absolute=absolute, judged=judged, tolerance=TERMS
    )


def require(errors: list[OutputError]) -> None:
    """Raise ParityFailure, naming each output that is beyond its tolerance."""
    failures = [str(error) for error in errors if not error.holds]
    if failures:
        raise ParityFailure(failures)


def to_dict(errors: list[OutputError]) -> dict[str, Any]:
    """What the manifest says of it: the largest absolute error of each output, by graph."""
    figures: dict[str, Any] = {"device": "cpu", "batches": list(BATCHES), "errors": {}}
    for each in errors:
        figures["errors"].setdefault(each.graph, {})[each.output] = each.absolute
    return figures


def _tolerance(pair: Pair, output: str) -> float:
    if output in ("latents", "terms"):
        return LATENTS if output == "latents" else TERMS
    if not pair.is_image:
        return VECTORS
    return HEAT if output == "heat" else GREY_LEVELS


def _unit(pair: Pair, output: str) -> Array | float:
    """What errors are measured in: of scaled vectors, as the networks see them."""
    if pair.scaling is None or output not in ("vectors", "reconstructions"):
        return 1.0
    return pair.scaling.scale


def _largest_errors(
    output: str, wanted: Array, got: Array, unit: Array | float = 1.0
) -> tuple[float, float]:
    """The largest error, absolute and as it is judged."""
    if wanted.shape != got.shape or wanted.dtype != got.dtype:
        return float("nan"), float("nan")
    exact = wanted.astype(np.float64) / unit
    error = np.abs(exact - got.astype(np.float64) / unit)
    absolute = float(error.max())
    if output == "latents" or wanted.dtype == np.uint8:
        return absolute, absolute
    return absolute, float((error / np.maximum(1.0, np.abs(exact))).max())
