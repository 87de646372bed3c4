"""A graph as the Open Inference Protocol and Triton put it: signature, configuration, figures."""

from typing import Any

from serving.bundle import Manifest, TensorInfo
from serving.model import Model
from serving.routes.tensors import DATATYPES
from serving.tally import Spent, Tally


def described(tensor: TensorInfo) -> dict[str, Any]:
    """An input or output; -1 stands for the batch axis."""
    return {
        "name": tensor.name,
        "datatype": DATATYPES[tensor.dtype],
        "shape": [-1, *tensor.shape[1:]],
    }


def configured(tensor: TensorInfo) -> dict[str, Any]:
    """The same as Triton's model_config.proto has it: without the batch axis."""
    datatype = "TYPE_" + DATATYPES[tensor.dtype]
    return {"name": tensor.name, "data_type": datatype, "dims": list(tensor.shape[1:])}


def manifest(model: Model) -> Manifest:
    """The manifest of a model that answers, or will once a request has loaded it.

    Raises NotReady for any other.
    """
    if model.resting and model.bundle is not None:
        return model.bundle.manifest
    return model.manifest


def statistics(name: str, model: Model, graph: str) -> dict[str, Any]:
    """What Triton says of a model: counts, and nanoseconds, since it was last loaded."""
    tally = Tally() if model.resting else model.ready.tally
    figures, batches = tally.of(graph), tally.batches(graph)
    none = Spent()
    return {
        "name": name,
        "version": str(model.version),
        "last_inference": round(figures.last * 1e3),
        "inference_count": sum(rows * count for rows, count, _ in batches),
        "execution_count": sum(count for _, count, _ in batches),
        "inference_stats": {
            "success": _spent(figures.success),
            "fail": _spent(figures.fail),
            "queue": _spent(figures.queue),
            "compute_input": _spent(none),
            "compute_infer": _spent(figures.compute),
            "compute_output": _spent(none),
        },
        "batch_stats": [
            {
                "batch_size": rows,
                "compute_input": _spent(none),
                "compute_infer": _spent(Spent(count, seconds)),
                "compute_output": _spent(none),
            }
            for rows, count, seconds in batches
        ],
    }


def _spent(spent: Spent) -> dict[str, int]:
    return {"count": spent.count, "ns": round(spent.seconds * 1e9)}
