"""What a person writes first: FastAPI, one onnxruntime session, no batching; written both ways.

    uvicorn server:app --port 8000        BENCH_BUNDLE names the bundle's directory

Under /def the handlers are plain functions, which FastAPI's documentation wants where code blocks:
a pool of threads runs them, and the session computes on as many cores as there are.  Under /async
they compute on the event loop, on one core: for one small JPEG that is faster, as no thread is
changed; for 64 images, and for a PNG, it is not.  Both are measured.

Raw JPEG in, JSON out by orjson, which FastAPI's own encoder is slower than.  /arrays takes raw
uint8 [N, 32, 32, 1] and gives raw float32 [N, 64]; /reconstruct gives a PNG.
"""

import io
import os
from pathlib import Path
from typing import Annotated

import numpy as np
import onnxruntime as ort
import orjson
from fastapi import Depends, FastAPI, Request, Response
from PIL import Image

BUNDLE = Path(os.environ["BENCH_BUNDLE"])
options = ort.SessionOptions()
options.intra_op_num_threads = 1
encode = ort.InferenceSession(BUNDLE / "encode.onnx", options)
reconstruct = ort.InferenceSession(BUNDLE / "reconstruct.onnx", options)
app = FastAPI()


async def body(request: Request) -> bytes:
    data: bytes = await request.body()
    return data


Body = Annotated[bytes, Depends(body)]


def decoded(data: bytes) -> np.ndarray:
    """[1, H, W, 1]."""
    return np.asarray(Image.open(io.BytesIO(data)).convert("L"))[None, :, :, None]


@app.get("/ready")
async def ready() -> str:
    return "yes"


@app.post("/def/encode")
def of_jpeg(data: Body) -> Response:
    (latents,) = encode.run(None, {"images": decoded(data)})
    text = orjson.dumps({"latents": latents}, option=orjson.OPT_SERIALIZE_NUMPY)
    return Response(text, media_type="application/json")


@app.post("/def/arrays")
def of_arrays(data: Body) -> Response:
    images = np.frombuffer(data, np.uint8).reshape(-1, 32, 32, 1)
    (latents,) = encode.run(None, {"images": images})
    return Response(latents.tobytes(), media_type="application/octet-stream")


@app.post("/def/reconstruct")
def as_png(data: Body) -> Response:
    _, made = reconstruct.run(None, {"images": decoded(data)})
    file = io.BytesIO()
    Image.fromarray(made[0, :, :, 0]).save(file, "PNG", compress_level=1)
    return Response(file.getvalue(), media_type="image/png")


@app.post("/async/encode")
async def of_jpeg_on_the_loop(request: Request) -> Response:
    return of_jpeg(await request.body())


@app.post("/async/arrays")
async def of_arrays_on_the_loop(request: Request) -> Response:
    return of_arrays(await request.body())


@app.post("/async/reconstruct")
async def as_png_on_the_loop(request: Request) -> Response:
    return as_png(await request.body())
