"""BentoML's own adaptive batching: @bentoml.api(batchable=True).

    bentoml serve server:Encode  BENCH_BUNDLE names the bundle's directory, BENCH_WORKERS the
                                 number of processes

A batchable method takes one list: pictures as files of a form, or texts in JSON, here raw images in
base64 (as an array of JSON numbers a request of 64 takes half a second to read).
The wait is bounded far above what happens here, since BentoML sheds what it thinks would be late.
"""

import base64
import os
from pathlib import Path

import bentoml
import numpy as np
import onnxruntime as ort
from PIL.Image import Image


@bentoml.service(workers=int(os.environ["BENCH_WORKERS"]), logging={"access": {"enabled": False}})
class Encode:
    """encode.onnx over the images of whatever requests wait."""

    def __init__(self) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        file = Path(os.environ["BENCH_BUNDLE"]) / "encode.onnx"
        self.session = ort.InferenceSession(file, options)

    @bentoml.api(batchable=True, max_batch_size=64, max_latency_ms=60_000)
    def encode(self, images: list[Image]) -> np.ndarray:
        pictures = np.stack([np.asarray(image.convert("L")) for image in images])
        latents: np.ndarray = self.session.run(None, {"images": pictures[:, :, :, None]})[0]
        return latents

    @bentoml.api(batchable=True, max_batch_size=128, max_latency_ms=60_000)
    def arrays(self, images: list[str]) -> np.ndarray:
        pixels = np.frombuffer(b"".join(map(base64.b64decode, images)), np.uint8)
        latents: np.ndarray = self.session.run(None, {"images": pixels.reshape(-1, 32, 32, 1)})[0]
        return latents
