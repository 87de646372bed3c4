"""LitServe with its dynamic batching: decode_request, batch, predict, unbatch, encode_response.

    python server.py 8000        BENCH_BUNDLE names the bundle's directory, BENCH_WORKERS the
                                 number of processes that compute

It reads a request as JSON or as a form, never a raw body, so an image is base64 in JSON, as in its
documentation; so are raw arrays.  A batch timeout of 0 takes what waits and waits for no more.
"""

import base64
import io
import os
import sys
from pathlib import Path
from typing import Any

import litserve as ls
import numpy as np
import onnxruntime as ort
from PIL import Image


class Encode(ls.LitAPI):
    """encode.onnx over the images of whatever requests wait."""

    def setup(self, device: str) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        file = Path(os.environ["BENCH_BUNDLE"]) / "encode.onnx"
        self.session = ort.InferenceSession(file, options)

    def decode_request(self, request: dict[str, str]) -> np.ndarray:
        if "array" in request:
            data = base64.b64decode(request["array"])
            return np.frombuffer(data, np.uint8).reshape(-1, 32, 32, 1)
        image = Image.open(io.BytesIO(base64.b64decode(request["image"])))
        return np.asarray(image.convert("L"))[None, :, :, None]

    def batch(self, inputs: list[np.ndarray]) -> tuple[np.ndarray, list[int]]:
        return np.concatenate(inputs), [len(one) for one in inputs]

    def predict(self, batch: tuple[np.ndarray, list[int]]) -> list[np.ndarray]:
        images, counts = batch
        (latents,) = self.session.run(None, {"images": images})
        return np.split(latents, np.cumsum(counts)[:-1])

    def unbatch(self, output: list[np.ndarray]) -> list[np.ndarray]:
        return output

    def encode_response(self, output: np.ndarray) -> dict[str, Any]:
        if len(output) == 1:
            return {"latents": output.tolist()}
        return {"latents": base64.b64encode(output.tobytes()).decode()}


if __name__ == "__main__":
    server = ls.LitServer(
        Encode(max_batch_size=64, batch_timeout=0.0),
        accelerator="cpu",
        workers_per_device=int(os.environ["BENCH_WORKERS"]),
    )
    server.run(host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False,
               log_level="warning")  # fmt: skip
