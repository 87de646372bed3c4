"""What a person writes first: FastAPI, one onnxruntime session, no batching.

    uvicorn server:app --port 8000        BENCH_BUNDLE names the bundle's directory

Raw JPEG in, JSON out by orjson, which FastAPI's own encoder is slower than.  POST /arrays takes raw
uint8 [N, 32, 32, 1] and gives raw float32 [N, 64]; POST /reconstruct gives a PNG.
"""

import io
import os
from pathlib import Path

import numpy as np
import onnxruntime as ort
import orjson
from fastapi import FastAPI, Request, Response
from PIL import Image

BUNDLE = Path(os.environ["BENCH_BUNDLE"])
options = ort.SessionOptions()
options.intra_op_num_threads = 1
encode = ort.InferenceSession(BUNDLE / "encode.onnx", options)
reconstruct = ort.InferenceSession(BUNDLE / "reconstruct.onnx", options)
app = FastAPI()


def decoded(data: bytes) -> np.ndarray:
    """[1, H, W, 1]."""
    return np.asarray(Image.open(io.BytesIO(data)).convert("L"))[None, :, :, None]


@app.get("/ready")
async def ready() -> str:
    return "yes"


@app.post("/encode")
async def of_jpeg(request: Request) -> Response:
    (latents,) = encode.run(None, {"images": decoded(await request.body())})
    body = orjson.dumps({"latents": latents}, option=orjson.OPT_SERIALIZE_NUMPY)
    return Response(body, media_type="application/json")


@app.post("/arrays")
async def of_arrays(request: Request) -> Response:
    images = np.frombuffer(await request.body(), np.uint8).reshape(-1, 32, 32, 1)
    (latents,) = encode.run(None, {"images": images})
    return Response(latents.tobytes(), media_type="application/octet-stream")


@app.post("/reconstruct")
async def as_png(request: Request) -> Response:
    _, made = reconstruct.run(None, {"images": decoded(await request.body())})
    file = io.BytesIO()
    Image.fromarray(made[0, :, :, 0]).save(file, "PNG", compress_level=1)
    return Response(file.getvalue(), media_type="image/png")
