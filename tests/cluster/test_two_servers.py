"""Two servers behind nginx, by the configuration that deploy/ has: one server, to those who ask."""

import os
import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest

from oracle import make_oracle
from server_process import ROOT, Running, free_port, running, until

DEPLOY = ROOT / "deploy"
ADMIN = {"Authorization": "Bearer of-the-cluster"}
CLIENTS = 6
ROUNDS = 12  # so many that either server is asked
NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")


class Cluster(NamedTuple):
    """The servers, the folder that both serve, and where nginx answers for them."""

    servers: list[Running]
    models: Path
    url: str
    log: Path  # of nginx: the server that each request went to

    def asked(self) -> set[str]:
        return set(re.findall(r"127\.0\.0\.1:\d+", self.log.read_text()))


def configuration(servers: list[Running], folder: Path, port: int) -> str:
    """nginx's own, around deploy/nginx/biject.conf with these addresses in place of its names."""
    text = (DEPLOY / "nginx" / "biject.conf").read_text()
    for number, server in enumerate(servers, 1):
        text = text.replace(f"biject-{number}:3000", f"127.0.0.1:{server.port}")
    text = text.replace("listen 80;", f"listen 127.0.0.1:{port};")
    assert "biject-" not in text
    assert str(port) in text
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    places = " ".join(f"{kind}_temp_path {folder}/{kind};" for kind in kinds)
    user = "user root;" if os.geteuid() == 0 else ""
    return f"""{user} daemon off; pid {folder}/pid; error_log {folder}/errors;
events {{}}
http {{ {places} log_format upstream '$upstream_addr'; access_log {folder}/access upstream;
{text} }}
"""


@contextmanager
def balanced(servers: list[Running], models: Path, folder: Path) -> Iterator[Cluster]:
    if NGINX is None:
        if os.environ.get("REQUIRE_NGINX"):
            pytest.fail("REQUIRE_NGINX is set, and there is no nginx")
        pytest.skip("no nginx (on Debian: apt install nginx-light)")
    folder.mkdir()
    port = free_port()
    file = folder / "nginx.conf"
    file.write_text(configuration(servers, folder, port))
    cluster = Cluster(servers, models, f"http://127.0.0.1:{port}", folder / "access")
    process = subprocess.Popen([NGINX, "-p", str(folder), "-e", str(folder / "errors"),
                                "-c", str(file)])  # fmt: skip
    try:
        until(lambda: answers(cluster.url), 20)
        yield cluster
    finally:
        process.send_signal(signal.SIGQUIT)
        process.wait(20)


def answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/livez").status_code == 200
    except httpx.TransportError:
        return False


@contextmanager
def two(folder: Path) -> Iterator[Cluster]:
    models = folder / "models"
    for version in (1, 2):
        make_oracle(models, version=version)
    with ExitStack() as stack:
        servers = [
            stack.enter_context(
                running("bare", models, folder / f"log-{number}", "--admin-keys", "of-the-cluster")
            )
            for number in (1, 2)
        ]
        yield stack.enter_context(balanced(servers, models, folder / "nginx"))


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with two(tmp_path_factory.mktemp("cluster")) as running_both:
        yield running_both


def many(cluster: Cluster, ask: Callable[[httpx.Client], httpx.Response]) -> list[httpx.Response]:
    """Answers to the same question, several at a time, so that both servers are asked."""

    def once(_: int) -> httpx.Response:
        with httpx.Client(base_url=cluster.url, timeout=20) as client:
            return ask(client)

    before = len(cluster.log.read_text().splitlines())
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(once, range(ROUNDS)))
    new = "\n".join(cluster.log.read_text().splitlines()[before:])
    assert len(set(re.findall(r"127\.0\.0\.1:\d+", new))) == 2
    return found


def test_a_seed_draws_the_same_images_wherever_it_is_asked(cluster: Cluster) -> None:
    path = "/v1/models/default/sample?seed=7&n=3"
    got = many(cluster, lambda client: client.get(path, headers={"Accept": "image/png"}))
    assert {answer.status_code for answer in got} == {200}
    assert len({answer.content for answer in got}) == 1
    (etag,) = {answer.headers["etag"] for answer in got}
    again = many(cluster, lambda client: client.get(
        path, headers={"Accept": "image/png", "If-None-Match": etag}))  # fmt: skip
    assert {answer.status_code for answer in again} == {304}
    other = httpx.get(cluster.url + path.replace("7", "8"), headers={"Accept": "image/png"})
    assert other.content != got[0].content


WRONG: dict[str, Callable[[httpx.Client], httpx.Response]] = {
    "no image": lambda client: client.post(
        "/v1/models/default/encode", content=b"no", headers={"Content-Type": "image/png"}
    ),
    "no model": lambda client: client.get("/v1/models/nobody"),
    "no parameter": lambda client: client.get("/v1/models/default/sample?sead=1"),
    "no path": lambda client: client.get("/v1/nowhere"),
    "v2": lambda client: client.get("/v2/models/nobody"),
    "openai": lambda client: client.post("/v1/embeddings", json={"model": "nobody"}),
    "too many": lambda client: client.get("/v1/models/default/sample?n=100000"),
}


@pytest.mark.parametrize("name", WRONG)
def test_an_error_reads_the_same_from_both(cluster: Cluster, name: str) -> None:
    got = many(cluster, WRONG[name])
    bodies = set()
    for answer in got:
        assert 400 <= answer.status_code < 500
        bodies.add((answer.status_code, answer.headers["content-type"],
                    answer.text.replace(answer.headers["x-request-id"], "ID")))  # fmt: skip
    assert len(bodies) == 1


def test_models_and_versions_are_the_same_from_both(cluster: Cluster) -> None:
    lists = many(cluster, lambda client: client.get("/v1/models"))
    assert len({answer.content for answer in lists}) == 1
    for name, version in (("oracle", 2), ("oracle@1", 1)):
        path = f"/v1/models/{name}/sample?seed=1"
        got = many(cluster, lambda client, path=path: client.get(path))  # type: ignore[misc]
        assert {answer.json()["model"] for answer in got} == {f"oracle@{version}"}


def test_a_version_that_each_server_loads_answers_for_both(cluster: Cluster) -> None:
    make_oracle(cluster.models, version=3)
    for server in cluster.servers:
        loaded = httpx.post(f"{server.url}/v1/models/oracle/load", headers=ADMIN, timeout=30)
        assert loaded.json()["version"] == 3
    got = many(cluster, lambda client: client.get("/v1/models/oracle/sample?seed=1"))
    assert {answer.json()["model"] for answer in got} == {"oracle@3"}


@pytest.mark.parametrize(
    "path", ["/metrics", "/v1/models/oracle/load", "/v2/repository/models/x/unload"]
)
def test_what_is_about_one_server_is_not_asked_through_the_proxy(
    cluster: Cluster, path: str
) -> None:
    answer = httpx.post(cluster.url + path, headers=ADMIN | {"X-Request-ID": "mine"})
    assert answer.status_code == 403
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["request_id"] == "mine"


@pytest.mark.parametrize("path", ["/v1/models/load", "/v1/models/unload", "/v2/models/load"])
def test_a_model_may_be_called_as_an_order_is(cluster: Cluster, path: str) -> None:
    answer = httpx.get(cluster.url + path)
    assert answer.status_code == 404
    assert "load" in answer.text


def test_an_id_goes_through_and_a_wild_one_is_replaced(cluster: Cluster) -> None:
    def seen(given: str) -> str:
        answer = httpx.get(f"{cluster.url}/v1/nowhere", headers={"X-Request-ID": given})
        told: str = answer.json()["request_id"]
        assert answer.headers["x-request-id"] == told
        return told

    assert seen("my-request") == "my-request"
    assert re.fullmatch("[0-9a-f]{32}", seen('"quoted"'))


def test_the_autoscaler_and_the_dashboard_ask_for_figures_that_there_are(cluster: Cluster) -> None:
    httpx.get(f"{cluster.url}/v1/models/default/sample")
    there = "".join(httpx.get(f"{one.url}/metrics", headers=ADMIN).text for one in cluster.servers)
    files = [DEPLOY / "kubernetes" / "adapter.yaml", DEPLOY / "grafana" / "biject.json"]
    wanted = {name for file in files for name in re.findall(r"biject_[a-z_]+", file.read_text())}
    wanted -= {"biject_queue_wait_seconds"}  # what the adapter makes of them
    assert {"biject_queue_seconds_sum", "biject_queue_seconds_count"} <= wanted
    assert {name for name in wanted if name not in there} == set()


class Asked(NamedTuple):
    """One request: when it went off, when it was over, what came; 0 is no answer."""

    begin: float
    end: float
    status: int


class Load:
    """Clients that ask without a pause, each time on a new connection."""

    def __init__(self, url: str) -> None:
        self.requests: list[Asked] = []
        self.over = threading.Event()
        self._url = url

    def ask(self) -> None:
        while not self.over.is_set():
            begin = time.monotonic()
            try:
                answer = httpx.post(f"{self._url}/v1/models/default/sample?n=64", timeout=20)
                status = answer.status_code
            except httpx.TransportError:
                status = 0
            self.requests.append(Asked(begin, time.monotonic(), status))


@contextmanager
def load(url: str) -> Iterator[Load]:
    with ThreadPoolExecutor(CLIENTS) as pool:
        asking = Load(url)
        clients = [pool.submit(asking.ask) for _ in range(CLIENTS)]
        try:
            until(lambda: len(asking.requests) > 4 * CLIENTS, 60)
            yield asking
        finally:
            asking.over.set()
        for client in clients:
            client.result()


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_one_ends_under_load_and_only_what_it_was_at_may_fail(
    end: signal.Signals, tmp_path: Path
) -> None:
    with two(tmp_path) as cluster, load(cluster.url) as asking:
        assert len(cluster.asked()) == 2
        gone = cluster.servers[0].process
        when = time.monotonic()
        if end == signal.SIGKILL:  # it is at some requests, and has answered none of them
            gone.send_signal(signal.SIGSTOP)
            time.sleep(0.5)
        gone.send_signal(end)
        gone.wait(30)
        ended = time.monotonic()
        until(lambda: sum(one.begin > ended for one in asking.requests) > 6 * CLIENTS, 60)
    failed = [one for one in asking.requests if one.status != 200]
    if end == signal.SIGTERM:  # it finishes what it was at, and the rest is asked of the other
        assert failed == []
    assert all(one.begin < ended and one.end > when for one in failed)
    assert len(failed) <= 1  # that whose answer had begun; the other server answers the rest
