"""What Schemathesis must know to ask for what can be answered: images, and sizes of the oracle.

It runs in a process of its own (see test_fuzzing.py), which loads this by SCHEMATHESIS_HOOKS.
"""

import base64
import io
import os
from typing import Any

import numpy as np
import schemathesis
from hypothesis import strategies as st
from PIL import Image

LATENTS = 48  # numbers in a code of the oracle
SEEDS = st.integers(0, 2**32 - 1)


def picture(seed: int, form: str) -> bytes:
    rng = np.random.default_rng(seed)
    height, width = rng.integers(1, 20, 2)
    buffer = io.BytesIO()
    pixels = rng.integers(0, 256, (height, width, 3), np.uint8)
    Image.fromarray(pixels).save(buffer, form)
    return buffer.getvalue()


def uri(seed: int) -> str:
    data = base64.b64encode(picture(seed, "PNG")).decode()
    return data if seed % 2 else "data:image/png;base64," + data


def array(path: str) -> bytes:
    """An array that this verb takes."""
    rng, buffer = np.random.default_rng(0), io.BytesIO()
    if path.endswith("/decode"):
        np.save(buffer, rng.standard_normal((2, LATENTS), np.float32))
    else:
        count = 1 if path.endswith("/vary") else 2
        np.save(buffer, rng.integers(0, 256, (count, 8, 8, 3), np.uint8))
    return buffer.getvalue()


def pictures(form: str) -> st.SearchStrategy[bytes]:
    return SEEDS.map(lambda seed: picture(seed, form))


for form in ("PNG", "JPEG", "WEBP", "BMP"):
    schemathesis.openapi.media_type(f"image/{form.lower()}", pictures(form))
schemathesis.openapi.media_type("application/x-npy", SEEDS.map(lambda seed: array("encode")))
schemathesis.openapi.format("image-data-uri", SEEDS.map(uri))
schemathesis.openapi.format("binary", pictures("PNG"))


OTHERS = ("multipart/form-data", "application/x-npy", "application/octet-stream")


@schemathesis.hook
def before_load_schema(context: Any, raw_schema: dict[str, Any]) -> None:
    """Forms and arrays by themselves: it cannot tell which of those are valid, once mended."""
    others = os.environ["FUZZED"] == "others"
    for path in raw_schema["paths"].values():
        for method, operation in list(path.items()):
            bodies = operation.get("requestBody", {"content": {}})["content"]
            if bodies and not others and set(bodies) <= set(OTHERS):
                del path[method]
            for media_type in [
                one for one in bodies if (one in OTHERS) != others and len(bodies) > 1
            ]:
                del bodies[media_type]


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: dict[str, Any]) -> None:
    """Mend what the document cannot say: which model is asked, and what goes with what."""
    headers = case.headers or {}
    if str(headers.get("X-Deadline-Ms", "")).isdecimal() and int(headers["X-Deadline-Ms"]) > 0:
        headers["X-Deadline-Ms"] = "20000"  # a millisecond is valid, and too short
    if (case.path_parameters or {}).get("model") == "grey":  # the list of models told it
        case.path_parameters["model"] = "oracle"
    query, body = case.query or {}, case.body
    if case.meta is None or case.meta.generation.mode != schemathesis.GenerationMode.POSITIVE:
        return
    if (case.path_parameters or {}).get("model") == "grey":  # it learned that there is another
        case.path_parameters["model"] = "oracle"
    if "by" in query:
        query["by"] = "l1"
    for given in (query, body):
        if isinstance(given, dict):
            mend_parameters(given)
    if case.media_type == "application/x-npy":
        case.body = array(case.path)
    if case.path.endswith("/infer") and case.media_type == "application/json":
        for name in ("Content-Encoding", "Inference-Header-Content-Length"):
            headers.pop(name, None)  # the body is plain, and all of it JSON
        case.body = {**body, "inputs": [tensor()], "outputs": [], "parameters": {}}
    if not isinstance(body, dict):
        return
    if case.path.startswith(("/v1/embeddings", "/v1/images/")):
        mend_openai(body)
    if "model" in body and not case.path.startswith("/v1/"):  # BentoML's typed methods
        body["model"] = "oracle"
    for name in [name for name in query if name in body]:  # twice is wrong
        del query[name]
    if "by" in body:
        body["by"] = "l1"
    if "vectors" in body:  # the oracle takes images
        body["images"] = [uri(0)] * len(body.pop("vectors"))
    if "latents" in body:
        body["latents"] = [sized(one) for one in body["latents"]]


def mend_parameters(given: dict[str, Any]) -> None:
    """None that only other models have, none that needs another beside it, and no extremes."""
    for name in ("label", "labels", "tile", "stride", "roi"):
        given.pop(name, None)
    if given.get("frames") is not None:  # of all legs no more than 256
        given["frames"] = min(int(given["frames"]), 16)
    if given.get("truncation") is not None:  # nearly 0 is 0 to some processors
        given["truncation"] = max(float(given["truncation"]), 1e-30)


def mend_openai(body: dict[str, Any]) -> None:
    """A model that is there, its size, and images where vectors could be."""
    if body.get("model") is not None:
        body["model"] = "oracle"
    if body.get("size") is not None:
        body["size"] = "auto"
    given = body.get("input")
    if isinstance(given, list) and not all(isinstance(one, str) for one in given):
        body["input"] = [uri(0)] * len(given)


def tensor() -> dict[str, Any]:
    """What the graph `encode` takes."""
    return {"name": "images", "shape": [1, 8, 8, 3], "datatype": "UINT8", "data": [7] * 192}


def sized(latent: Any) -> Any:
    if isinstance(latent, dict):
        return {**latent, "latent": sized(latent["latent"])}
    return (latent * LATENTS)[:LATENTS]
