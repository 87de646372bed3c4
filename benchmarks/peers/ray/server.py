"""Ray Serve with @serve.batch: raw JPEG in, JSON out; raw arrays in and out.

    python server.py 8000        BENCH_BUNDLE names the bundle's directory, BENCH_WORKERS the
                                 number of replicas

Its default of 5 requests in flight per replica would bound the batch: it is 512 here.
"""

import io
import os
import signal
import sys
import threading
from pathlib import Path

import numpy as np
import onnxruntime as ort
import ray
from PIL import Image
from ray import serve
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

BUNDLE = os.environ["BENCH_BUNDLE"]


@serve.deployment(
    num_replicas=int(os.environ["BENCH_WORKERS"]),
    max_ongoing_requests=512,
    ray_actor_options={"num_cpus": 1},
    logging_config={"enable_access_log": False},
)
class Encode:
    """encode.onnx over the images of whatever requests wait."""

    def __init__(self, bundle: str) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = ort.InferenceSession(Path(bundle) / "encode.onnx", options)

    @serve.batch(max_batch_size=64, batch_wait_timeout_s=0.001)
    async def encode(self, inputs: list[np.ndarray]) -> list[np.ndarray]:
        (latents,) = self.session.run(None, {"images": np.concatenate(inputs)})
        return np.split(latents, np.cumsum([len(one) for one in inputs])[:-1])

    async def __call__(self, request: Request) -> Response:
        data = await request.body()
        if request.url.path == "/arrays":
            images = np.frombuffer(data, np.uint8).reshape(-1, 32, 32, 1)
            latents = await self.encode(images)
            return Response(latents.tobytes(), media_type="application/octet-stream")
        image = np.asarray(Image.open(io.BytesIO(data)).convert("L"))[None, :, :, None]
        latents = await self.encode(image)
        return JSONResponse({"latents": latents.tolist()})


if __name__ == "__main__":
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    serve.start(http_options={"host": "127.0.0.1", "port": int(sys.argv[1])})
    serve.run(Encode.bind(BUNDLE), route_prefix="/")  # type: ignore[attr-defined]
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())  # to wait for it, all threads had to mask
    while not ended.wait(0.2):
        pass
    ray.shutdown()
