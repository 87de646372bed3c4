"""MLServer with a custom runtime and its adaptive batching, which merges requests' tensors.

    mlserver start .             BENCH_BUNDLE names the bundle's directory

Open Inference Protocol in JSON, the only form that its HTTP side reads: a JPEG is one element of a
BYTES tensor in base64, raw arrays are a UINT8 tensor of numbers.  Its parallel workers are off:
they would carry each tensor to another process and back.
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
        if given.datatype == "BYTES":
            texts = getattr(given.data, "root", given.data)
            files = (io.BytesIO(base64.b64decode(text)) for text in texts)
            pictures = [np.asarray(Image.open(file).convert("L")) for file in files]
            images = np.stack(pictures)[:, :, :, None]
        else:
            images = NumpyCodec.decode_input(given)
        (latents,) = self.session.run(None, {"images": images})
        output = NumpyCodec.encode_output("latents", latents)
        return InferenceResponse(model_name=self.name, outputs=[output])
