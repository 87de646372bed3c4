"""The servers that are compared, and how each is asked: what it takes, what it gives."""

import base64
import io
import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from benchmarks.processes import Running, free_port, running
from benchmarks.records import ROOT
from serving.load.bodies import FORM_TYPE, form, image_file, npy

Images = npt.NDArray[np.uint8]  # [N, H, W, C]
Floats = npt.NDArray[np.float32]
BUNDLE: Final = ROOT / "serving" / "bundles" / "fashion" / "1"
PEERS: Final = ROOT / "benchmarks" / "peers"
HOME: Final = ROOT / ".bench"  # environments and logs; not in git
DOUBLE: Final = " x 2"  # ends the name of a server with two processes that compute


@dataclass(frozen=True, kw_only=True, slots=True)
class Call:
    """A way to ask a server."""

    path: str
    content_type: str
    body: Callable[[Images], bytes]
    latents: Callable[[bytes], Floats] | None = None  # of an answer, [N, Z]; None: not checked
    accept: str = "*/*"

    @property
    def headers(self) -> dict[str, str]:
        return {"Content-Type": self.content_type, "Accept": self.accept}


@dataclass(frozen=True, kw_only=True, slots=True)
class Server:
    """How a server is started and asked."""

    name: str
    command: Sequence[str]  # {port} stands for its port
    ready: str  # a path that answers 200 once it serves
    calls: Mapping[str, Call]  # by workload
    cwd: Path = ROOT
    peer: str | None = None  # its folder under peers/, and its environment's name
    environ: Mapping[str, str] = field(default_factory=dict)

    def start(self) -> AbstractContextManager[Running]:
        """It, running, for a block."""
        port = free_port()
        return running(
            [part.format(port=port) for part in self.command],
            port=port,
            ready=self.ready,
            cwd=self.cwd,
            environ={key: value.format(port=port) for key, value in self.environ.items()}
            | {"BENCH_BUNDLE": str(BUNDLE), "BENCH_WORKERS": "2" if DOUBLE in self.name else "1"}
            | {"OMP_NUM_THREADS": "1", "BENTOML_DO_NOT_TRACK": "True"},
            log=HOME / "logs" / f"{self.name}.log",
        )

    def install(self) -> None:
        """Make a peer's environment, if it is not there or its requirements have changed."""
        if self.peer is None:
            return
        wanted = (PEERS / self.peer / "requirements.txt").read_text()
        stamp = HOME / self.peer / "installed.txt"
        if stamp.exists() and stamp.read_text() == wanted:
            return
        print(f"{self.name}: installing", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", str(HOME / self.peer)], check=True)
        python = str(HOME / self.peer / "bin" / "python")
        file = str(PEERS / self.peer / "requirements.txt")
        quiet = ["--quiet", "--disable-pip-version-check"]
        subprocess.run([python, "-m", "pip", "install", *quiet, "-r", file], check=True)
        stamp.write_text(wanted)


def jpeg(images: Images) -> bytes:
    """The first image as a JPEG file."""
    return image_file(images[0], "jpeg")


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _json(document: Any) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()


def _oip(name: str, data: Sequence[str]) -> bytes:
    tensor = {"name": name, "datatype": "BYTES", "shape": [len(data)], "data": data}
    return _json({"inputs": [tensor]})


def _listed(key: str | None) -> Callable[[bytes], Floats]:
    def latents(answer: bytes) -> Floats:
        document = json.loads(answer)
        return np.array(document if key is None else document[key], np.float32)

    return latents


def _of_oip(answer: bytes) -> Floats:
    (output,) = json.loads(answer)["outputs"]
    return np.array(output["data"], np.float32).reshape(output["shape"])


def _of_text(answer: bytes) -> Floats:
    return _raw(base64.b64decode(json.loads(answer)["latents"]))


def _raw(answer: bytes) -> Floats:
    return np.frombuffer(answer, "<f4").reshape(-1, 64)


def _of_npy(answer: bytes) -> Floats:
    array: Floats = np.load(io.BytesIO(answer))
    return array


_MODEL: Final = "/v1/models/fashion"
_NPY: Final = "application/x-npy"
_OURS: Final = {
    "jpeg": Call(
        path=f"{_MODEL}/encode",
        content_type="image/jpeg",
        body=jpeg,
        latents=_listed("latents"),
        accept="application/json",
    ),
    "arrays": Call(
        path=f"{_MODEL}/encode", content_type=_NPY, body=npy, latents=_of_npy, accept=_NPY
    ),
    "score": Call(path=f"{_MODEL}/score", content_type=_NPY, body=npy, accept=_NPY),
    "png": Call(
        path=f"{_MODEL}/reconstruct", content_type="image/jpeg", body=jpeg, accept="image/png"
    ),
    "livez": Call(path="/livez", content_type="text/plain", body=lambda images: b""),
}


def _both(one: Server, *more: str) -> tuple[Server, Server]:
    """It with one process that computes and with two, for which its command takes `more`."""
    return one, replace(one, name=one.name + DOUBLE, command=[*one.command, *more])


def _ours(name: str, *flags: str) -> tuple[Server, Server]:
    command = [sys.executable, "-m", "biject", "serve", str(BUNDLE), "--port", "{port}", *flags]
    one = Server(
        name=name,
        command=command,
        ready="/readyz",
        calls=_OURS,
        environ={"PYTHONPATH": str(ROOT)},
    )
    return _both(one, "--workers", "2")


def _peer(
    name: str, folder: str, command: Sequence[str], *, more: Sequence[str] = (), **fields: Any
) -> tuple[Server, Server]:
    program, *rest = command
    one = Server(
        name=name,
        peer=folder,
        command=[str(HOME / folder / "bin" / program), *rest],
        cwd=PEERS / folder,
        **fields,
    )
    return _both(one, *more)


def _fastapi(kind: str) -> tuple[Server, Server]:
    return _peer(
        f"FastAPI {kind}",
        "fastapi",
        ["uvicorn", "server:app", "--port", "{port}", "--no-access-log"],
        more=("--workers", "2"),
        ready="/ready",
        calls={
            "jpeg": Call(
                path=f"/{kind}/encode",
                content_type="image/jpeg",
                body=jpeg,
                latents=_listed("latents"),
            ),
            "arrays": Call(
                path=f"/{kind}/arrays",
                content_type="application/octet-stream",
                body=lambda images: images.tobytes(),
                latents=_raw,
            ),
            "png": Call(path=f"/{kind}/reconstruct", content_type="image/jpeg", body=jpeg),
        },
    )


SERVERS: Final = (
    *_ours("biject"),
    *_ours("biject --bare", "--bare"),
    *_peer(
        "LitServe",
        "litserve",
        ["python", "server.py", "{port}"],
        ready="/health",
        calls={
            "jpeg": Call(
                path="/predict",
                content_type="application/json",
                body=lambda images: _json({"image": _text(jpeg(images))}),
                latents=_listed("latents"),
            ),
            "arrays": Call(
                path="/predict",
                content_type="application/json",
                body=lambda images: _json({"array": _text(images.tobytes())}),
                latents=_of_text,
            ),
        },
    ),
    *_peer(
        "BentoML batchable",
        "bentoml",
        ["bentoml", "serve", "server:Encode", "--host", "127.0.0.1", "--port", "{port}"],
        ready="/readyz",
        calls={
            "jpeg": Call(
                path="/encode",
                content_type=FORM_TYPE,
                body=lambda images: form([jpeg(images)], "jpeg"),
                latents=_listed(None),
            ),
            "arrays": Call(
                path="/arrays",
                content_type="application/json",
                body=lambda images: _json({"images": [_text(one.tobytes()) for one in images]}),
                latents=_listed(None),
            ),
        },
    ),
    _peer(  # its parallel workers would carry each tensor to another process and back
        "MLServer",
        "mlserver",
        ["mlserver", "start", "."],
        ready="/v2/models/encode/ready",
        environ={
            "MLSERVER_HTTP_PORT": "{port}",
            "MLSERVER_HOST": "127.0.0.1",
            "MLSERVER_GRPC_PORT": "0",
            "MLSERVER_METRICS_PORT": "0",
        },
        calls={
            "jpeg": Call(
                path="/v2/models/encode/infer",
                content_type="application/json",
                body=lambda images: _oip("images", [_text(jpeg(images))]),
                latents=_of_oip,
            ),
            "arrays": Call(
                path="/v2/models/encode/infer",
                content_type="application/json",
                body=lambda images: _oip("arrays", [_text(one.tobytes()) for one in images]),
                latents=_of_oip,
            ),
        },
    )[0],
    *_peer(
        "Ray Serve",
        "ray",
        ["python", "server.py", "{port}"],
        ready="/-/healthz",
        environ={"RAY_SERVE_THROUGHPUT_OPTIMIZED": "1"},  # as its page on performance has it
        calls={
            "jpeg": Call(
                path="/encode", content_type="image/jpeg", body=jpeg, latents=_listed("latents")
            ),
            "arrays": Call(
                path="/arrays",
                content_type="application/octet-stream",
                body=lambda images: images.tobytes(),
                latents=_raw,
            ),
        },
    ),
    *_fastapi("def"),
    *_fastapi("async"),
)
