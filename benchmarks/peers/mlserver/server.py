"""MLServer with a custom runtime and its adaptive batching, which merges requests' tensors.

    mlserver start .             BENCH_BUNDLE names the bundle's directory

Open Inference Protocol in JSON, the only form that its HTTP side reads: images are elements of a
BYTES tensor in base64, JPEG files in `images`, raw ones in `arrays`; numbers in JSON are slower.
Its parallel workers are off: they would carry each tensor to another process and back.
"""

import base64
import io
import os
from pathlib import Path

import numpy as np
import onnxruntime as ort
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse
from PIL import Image


class Encode(MLModel):
    """encode.onnx."""

    async def load(self) -> bool:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        file = Path(os.environ["BENCH_BUNDLE"]) / "encode.onnx"
        self.session = ort.InferenceSession(file, options)
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        (given,) = payload.inputs
        parts = [base64.b64decode(text) for text in getattr(given.data, "root", given.data)]
        if given.name == "arrays":
            images = np.frombuffer(b"".join(parts), np.uint8).reshape(-1, 32, 32, 1)
        else:
            pictures = [np.asarray(Image.open(io.BytesIO(part)).convert("L")) for part in parts]
            images = np.stack(pictures)[:, :, :, None]
        (latents,) = self.session.run(None, {"images": images})
        output = NumpyCodec.encode_output("latents", latents)
        return InferenceResponse(model_name=self.name, outputs=[output])
