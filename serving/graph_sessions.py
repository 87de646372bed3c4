"""A graph of a bundle as a session of onnxruntime, made of bytes that were checked."""

from collections.abc import Mapping
from typing import Any

import onnxruntime as ort

from serving.bundle import Bundle


def graph_session(
    bundle: Bundle,
    graph: str,
    files: Mapping[str, bytes],
    options: ort.SessionOptions,
    providers: list[Any],
) -> ort.InferenceSession:
    """The session of one graph; `files` are the bundle's contents, of which it takes copies.

    Never by path: onnxruntime would map the weights, and whoever writes into their file would
    change answers, or end the process by cutting it short.  Raises what onnxruntime raises.
    """
    weights = bundle.manifest.weights
    if weights is not None:
        data = files[weights.file]
        options.add_external_initializers_from_files_in_memory([weights.file], [data], [len(data)])
    file = bundle.manifest.graphs[graph].file
    return ort.InferenceSession(files[file], options, providers=providers)
