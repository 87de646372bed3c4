"""A long, rude day for one server: `python tests/attacks/soak.py --requests 200000`.

It starts `biject serve` on a bundle whose every answer numpy knows, the poisonous ones included,
and asks in ten rounds over a few dozen connections: good requests of all verbs, bad ones, poison,
slow bodies, clients that leave, deadlines that cannot be kept.  Every request must get its own
answer, once, of the kind it must have; after each round all connections close, and the server's
memory, files and threads must be what they were.  Exits with 1 on a miss.
"""

import argparse
import asyncio
import contextlib
import io
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

ROOT: Final = Path(__file__).resolve().parents[2]
if __name__ == "__main__":
    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import numpy as np  # noqa: E402

from oracle import (  # noqa: E402
    oracle_decode,
    oracle_encode,
    oracle_reconstruct,
    oracle_score,
)
from poison import make_poisonous, poisoned, poisoned_latents  # noqa: E402

ROUNDS: Final = 10
MEMORY_MARGIN: Final = 0.05  # that the last round may be above the first
MEMORY_SLACK: Final = 8 * 2**20  # bytes; what an allocator keeps comes in lumps
NPY: Final = "application/x-npy"
Answer = tuple[int, dict[str, str], bytes]


class Miss(Exception):
    """An answer is not what it must be."""


class Ask(NamedTuple):
    """One request, and what its answer must be."""

    kind: str
    path: str
    body: bytes
    headers: dict[str, str]
    statuses: tuple[int, ...]  # empty: the client does not stay for the answer
    check: Callable[[int, bytes], None]
    pieces: int = 1  # the body comes in so many, with a pause after each
    whole: bool = True  # False: only the first half of the body is ever sent


def npy(array: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def anything(status: int, body: bytes) -> None:
    """Whatever it says."""


class Asks:
    """Requests to draw from: made once, so that the client costs little."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self._random = random.Random(seed)
        self._good = [self._good_one(rng, i) for i in range(300)]
        self._poison = [self._poisonous_one(rng, i) for i in range(30)]
        self._bad = self._bad_ones(rng)

    def draw(self) -> Ask:
        """The next request: of a hundred some 74 good, 10 bad, 5 gone, 4 slow, 4 late, 3 poison."""
        place = self._random.random()
        if place < 0.10:
            return self._random.choice(self._bad)
        if place < 0.13:
            return self._random.choice(self._poison)
        good = self._random.choice(self._good)
        if place < 0.18:
            whole = self._random.random() < 0.7
            return good._replace(kind="gone", statuses=(), whole=whole)
        if place < 0.215:
            return good._replace(kind="slow", pieces=4)
        if place < 0.22 and good.body:
            late = {**good.headers, "X-Deadline-Ms": "150"}
            return good._replace(
                kind="stuck", headers=late, statuses=(408,), check=anything, whole=False
            )
        if place < 0.26:
            hasty = {**good.headers, "X-Deadline-Ms": self._random.choice(["1", "3", "10"])}
            return good._replace(kind="hasty", headers=hasty, statuses=(200, 408, 429, 504))
        return good

    def _good_one(self, rng: Any, i: int) -> Ask:
        count = int(rng.choice([1, 1, 1, 2, 3, 8, 33]))
        images = poisoned(rng.integers(0, 256, (count, 8, 8, 3), np.uint8))
        codes = oracle_encode(images)
        verb = ("encode", "decode", "reconstruct", "score", "sample")[i % 5]
        if verb == "sample":
            return self._sample(i)
        wanted: Any = {
            "encode": codes,
            "decode": oracle_reconstruct(images),
            "reconstruct": oracle_reconstruct(images),
            "score": oracle_score(images).terms[:, 0],
        }[verb]
        body = npy(codes if verb == "decode" else images)
        if verb == "score" or (verb == "encode" and i % 2):
            headers = {"Content-Type": NPY}

            def check(status: int, body: bytes) -> None:
                document = json.loads(body)
                found = document.get("latents") or [one["score"] for one in document["results"]]
                np.testing.assert_allclose(found, wanted, atol=1e-5)

        else:
            headers = {"Content-Type": NPY, "Accept": NPY}

            def check(status: int, body: bytes) -> None:
                np.testing.assert_allclose(np.load(io.BytesIO(body)), wanted, atol=1e-5)

        return Ask("good", verb, body, headers, (200,), _only(200, check))

    def _sample(self, seed: int) -> Ask:
        from serving.latents import sample

        wanted = oracle_decode(sample(seed, 5, 48, "normal"))

        def check(status: int, body: bytes) -> None:
            np.testing.assert_allclose(np.load(io.BytesIO(body)), wanted, atol=1)

        path = f"sample?n=5&seed={seed}"
        return Ask("good", path, b"", {"Accept": NPY}, (200,), _only(200, check))

    def _poisonous_one(self, rng: Any, i: int) -> Ask:
        count = int(rng.choice([1, 2, 40]))
        row = int(rng.integers(count))
        images = rng.integers(0, 256, (count, 8, 8, 3), np.uint8)
        verb = ("encode", "decode", "score")[i % 3]
        body = (
            npy(poisoned_latents(oracle_encode(poisoned(images)), row))
            if verb == "decode"
            else npy(poisoned(images, row))
        )

        def check(status: int, body: bytes) -> None:
            assert [error["index"] for error in json.loads(body)["errors"]] == [row]

        return Ask("poison", verb, body, {"Content-Type": NPY}, (500,), check)

    def _bad_ones(self, rng: Any) -> list[Ask]:
        images = poisoned(rng.integers(0, 256, (2, 8, 8, 3), np.uint8))
        codes = oracle_encode(images)
        odd = codes.copy()
        odd[1, 2] = np.nan
        as_npy, as_json = {"Content-Type": NPY}, {"Content-Type": "application/json"}
        wrong: list[tuple[str, bytes, dict[str, str], int]] = [
            ("encode", npy(images[:, :7]), as_npy, 422),
            ("encode", npy(images[:0]), as_npy, 422),
            ("encode", npy(images)[:-5], as_npy, 400),
            ("encode?colour=red", npy(images), as_npy, 400),
            ("encode", npy(images), {**as_npy, "Accept": "text/html"}, 406),
            ("encode", b"not an image", {"Content-Type": "image/png"}, 422),
            ("decode", npy(odd), as_npy, 422),
            ("decode", npy(codes[:, 1:]), as_npy, 422),
            ("decode", b'{"latents": [[1, 2', as_json, 400),
            ("decode", b'{"latents": [[1e999]]}', as_json, 400),
            ("sample?n=0", b"", {}, 422),
            ("sample?seed=-1", b"", {}, 422),
        ]

        def check(status: int, body: bytes) -> None:
            assert json.loads(body)["status"] == status

        return [
            Ask("bad", path, body, head, (status,), check) for path, body, head, status in wrong
        ]


def _only(status: int, check: Callable[[int, bytes], None]) -> Callable[[int, bytes], None]:
    """The check, for answers of this status."""
    return lambda found, body: check(found, body) if found == status else None


class Client:
    """One connection after another: asks, and looks at each answer."""

    def __init__(self, name: int, port: int, counts: Counter[str], misses: list[str]) -> None:
        self._name, self._port = name, port
        self._counts, self._misses = counts, misses
        self._number = 0
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, ask: Ask) -> None:
        self._number += 1
        request_id = f"c{self._name}-{self._number}"
        try:
            async with asyncio.timeout(60):
                await self._ask(ask, request_id)
        except (Miss, AssertionError, OSError, EOFError, ValueError, KeyError) as error:
            self._misses.append(f"{request_id} {ask.kind} {ask.path}: {str(error)[:300]!r}")
            await self.close()
        except TimeoutError:
            self._misses.append(f"{request_id} {ask.kind} {ask.path}: no answer in 60 s")
            await self.close()

    async def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            with contextlib.suppress(OSError):
                await self._streams[1].wait_closed()
            self._streams = None

    async def _ask(self, ask: Ask, request_id: str) -> None:
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._streams
        writer.write(_head(ask, request_id))
        body = ask.body if ask.whole else ask.body[: len(ask.body) // 2]
        step = max(1, -(-len(body) // ask.pieces))
        for start in range(0, len(body), step):
            writer.write(body[start : start + step])
            if ask.pieces > 1:
                await writer.drain()
                await asyncio.sleep(0.01)
        if not ask.statuses:
            await writer.drain()
            self._counts["gone"] += 1
            await self.close()
            return
        status, headers, content = await _answer(reader)
        if headers.get("x-request-id") != request_id:
            raise Miss(f"the answer is that to {headers.get('x-request-id')}")
        if status not in ask.statuses:
            raise Miss(f"{status} {content[:200]!r}")
        ask.check(status, content)
        self._counts[f"{ask.kind} {status}"] += 1
        if not ask.whole or headers.get("connection") == "close":
            await self.close()


def _head(ask: Ask, request_id: str) -> bytes:
    headers = {**ask.headers, "X-Request-ID": request_id, "Content-Length": str(len(ask.body))}
    lines = [f"{name}: {value}\r\n" for name, value in headers.items()]
    return f"POST /v1/models/poison/{ask.path} HTTP/1.1\r\nHost: x\r\n{''.join(lines)}\r\n".encode()


async def _answer(reader: asyncio.StreamReader) -> Answer:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.rstrip().split("\r\n")
    headers = {
        name.strip().lower(): value.strip() for name, _, value in (x.partition(":") for x in lines)
    }
    body = await reader.readexactly(int(headers["content-length"]))
    return int(first.split()[1]), headers, body


class Vital(NamedTuple):
    """What a server and its children hold."""

    memory: int  # bytes
    files: int
    threads: int


def vital(process: int) -> Vital:
    total = Vital(0, 0, 0)
    for one in family(process):
        with contextlib.suppress(OSError):
            pages = int(Path(f"/proc/{one}/statm").read_text().split()[1])
            files = len(os.listdir(f"/proc/{one}/fd"))
            threads = len(os.listdir(f"/proc/{one}/task"))
            total = Vital(
                total.memory + pages * os.sysconf("SC_PAGE_SIZE"),
                total.files + files,
                total.threads + threads,
            )
    return total


def family(process: int) -> Iterator[int]:
    yield process
    for task in Path(f"/proc/{process}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in task.read_text().split():
                yield from family(int(child))


async def settled(process: int, seconds: float = 15.0) -> Vital:
    """What the server holds once it has noticed that nobody is there: the same three times."""
    end, same = time.monotonic() + seconds, 0
    last = vital(process)
    while time.monotonic() < end and same < 3:
        await asyncio.sleep(0.3)
        now = vital(process)
        same = same + 1 if now[1:] == last[1:] else 0
        last = now
    return last


@contextlib.contextmanager
def server(folder: Path, *flags: str) -> Iterator[tuple[int, int]]:
    """`biject serve` on the poisonous bundle, made in `folder`: its process and its port."""
    make_poisonous(folder / "models")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
    command = [sys.executable, "-m", "biject", "serve", "models", "--port", str(port)]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "--device", "cpu", "--cache", "cache", *flags],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
            stdout=log,
            stderr=log,
        )
    try:
        end = time.monotonic() + 90
        while not _ready(port):
            if process.poll() is not None or time.monotonic() > end:
                raise RuntimeError((folder / "log").read_text()[-3000:])
            time.sleep(0.1)
        yield process.pid, port
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _ready(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as sock:
            sock.sendall(b"GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            return sock.recv(4096).startswith(b"HTTP/1.1 200 ")
    except OSError:
        return False


async def attack(
    process: int,
    port: int,
    *,
    requests: int,
    connections: int,
    seed: int,
    say: Callable[[str], Any],
) -> list[str]:
    """Ask so often; what went wrong, as lines."""
    asks, misses = Asks(seed), list[str]()
    counts: Counter[str] = Counter()
    clients = [Client(i, port, counts, misses) for i in range(connections)]
    done, measured = 0, list[Vital]()
    say(f"{'asked':>8} {'per s':>6} {'MiB':>7} {'files':>5} {'threads':>7} {'missed':>6}")
    for place in range(1, ROUNDS + 1):
        todo = iter(range(requests * place // ROUNDS - done))
        begin = time.monotonic()

        async def use(client: Client, todo: Iterator[int] = todo) -> None:
            for _ in todo:
                await client.ask(asks.draw())
            await client.close()

        await asyncio.gather(*map(use, clients))
        rate = (requests * place // ROUNDS - done) / (time.monotonic() - begin)
        done = requests * place // ROUNDS
        now = await settled(process)
        measured.append(now)
        say(
            f"{done:8} {rate:6.0f} {now.memory / 2**20:7.1f} {now.files:5} {now.threads:7} "
            f"{len(misses):6}"
        )
    for name, count in sorted(counts.items()):
        say(f"{count:8} {name}")
    if sum(counts.values()) + len(misses) != requests:
        misses.append(f"{requests} asked, {sum(counts.values())} answered, {len(misses)} missed")
    first, last = measured[0], measured[-1]
    if last.memory > first.memory * (1 + MEMORY_MARGIN) + MEMORY_SLACK:
        misses.append(f"memory grew from {first.memory:,} to {last.memory:,} bytes")
    if last.files > first.files:
        misses.append(f"open files grew from {first.files} to {last.files}")
    if last.threads > first.threads:
        misses.append(f"threads grew from {first.threads} to {last.threads}")
    if not _ready(port):
        misses.append("the server is not ready in the end")
    return misses


def soak(
    folder: Path, *, requests: int, connections: int, seed: int, say: Callable[[str], Any]
) -> list[str]:
    """Start a server in `folder` and attack it; what went wrong, as lines."""
    with server(folder) as (process, port):
        return asyncio.run(
            attack(process, port, requests=requests, connections=connections, seed=seed, say=say)
        )


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--requests", type=int, default=200_000)
    parser.add_argument("--connections", type=int, default=36)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()

    def say(line: str) -> None:
        print(line, flush=True)

    with tempfile.TemporaryDirectory() as folder:
        misses = soak(
            Path(folder),
            requests=given.requests,
            connections=given.connections,
            seed=given.seed,
            say=say,
        )
    for miss in misses[:30]:
        say(f"MISS {miss}")
    say(f"{len(misses)} misses" if misses else "all as it must be")
    return 1 if misses else 0


if __name__ == "__main__":
    sys.exit(main())
