"""A Bento as it is built, installed into an environment made of its own lock, and served from it.

That environment also stands in for the container, which is the same lock and the copied sources,
run as a user who owns nothing.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from server_process import free_port, until

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
VERSION = "0.1.0"
INDEX = "https://pypi.org/simple/numpy/"
NOBODY = 10001
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]  # PyPI, and an environment from nothing


@pytest.fixture(scope="module", autouse=True)
def index() -> None:
    try:
        urllib.request.urlopen(INDEX, timeout=10).close()
    except OSError as error:
        pytest.skip(f"a Bento is locked by asking PyPI, which is not to be reached: {error}")


def built(home: Path, seed: int) -> Path:
    """A Bento built into a store of its own, by a process that hashes in an order of its own."""
    environ = {
        "BENTOML_HOME": str(home),
        "BENTOML_DO_NOT_TRACK": "True",
        "PYTHONHASHSEED": str(seed),
    }
    command = [sys.executable, "-m", "bentoml", "build", "--version", VERSION]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **environ}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return home / "bentos" / "biject" / VERSION


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """A folder that everybody can read, as an image is; pytest's own are the user's alone."""
    folder = Path(tempfile.mkdtemp(prefix="biject-image-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def bento(place: Path) -> Path:
    return built(place / "store", 1)


def for_everybody() -> str:
    """A Python of this version that a user who owns nothing can run, else this one."""
    mine = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for python in (sys.executable, shutil.which(mine, path="/usr/local/bin:/usr/bin")):
        if python is not None and runs_as_nobody(python):
            return python
    return sys.executable


def runs_as_nobody(python: str) -> bool:
    real = str(Path(python).resolve())
    if os.name != "posix" or os.getuid() != 0:  # only root can become somebody else
        return False
    try:
        return subprocess.run([real, "-c", ""], user=NOBODY, group=NOBODY).returncode == 0
    except PermissionError:  # it lies in somebody's home
        return False


@pytest.fixture(scope="module")
def environment(place: Path, bento: Path) -> Path:
    """The `bin` of an environment with what the Bento's lock says, each file by its hash."""
    home = place / "environment"
    lock = bento / "env" / "python" / "requirements.txt"
    uv = [sys.executable, "-m", "uv", "--no-config", "--quiet"]
    subprocess.run([*uv, "venv", "--python", for_everybody(), str(home)], check=True)
    done = subprocess.run(
        [*uv, "pip", "install", "--require-hashes", "--no-build", "--link-mode", "copy",
         "--python", str(home / "bin" / "python"), "--requirement", str(lock)],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return home / "bin"


def contents(bento: Path) -> dict[str, bytes]:
    """Every file but for the line that says when."""
    files = {str(p.relative_to(bento)): p.read_bytes() for p in bento.rglob("*") if p.is_file()}
    when = re.compile(rb"^creation_time: .*\n", re.MULTILINE)
    assert len(when.findall(files["bento.yaml"])) == 1
    return files | {"bento.yaml": when.sub(b"", files["bento.yaml"])}


def test_the_same_sources_give_the_same_bento(bento: Path, tmp_path: Path) -> None:
    first, second = contents(bento), contents(built(tmp_path, 2))
    assert first.keys() == second.keys()
    assert [name for name in first if first[name] != second[name]] == []


def entries(lock: Path) -> dict[str, frozenset[str]]:
    """NAME==VERSION of each package in a lock, and its hashes."""
    lines = lock.read_text().replace("\\\n", " ").splitlines()
    words = [line.split() for line in lines if "==" in line]
    return {pin: frozenset(one for one in rest if one.startswith("--hash=sha256:"))
            for pin, *rest in words}  # fmt: skip


def test_its_lock_is_the_one_that_is_listed_with_hashes(bento: Path) -> None:
    own = entries(bento / "env" / "python" / "requirements.txt")
    assert own == entries(DEPLOY / "locks" / "serve.txt")
    assert own
    assert all(own.values())


def test_it_carries_its_bill_of_materials_and_licences(bento: Path) -> None:
    for name in ("sbom.cdx.json", "licences.md"):
        assert (bento / "src" / "deploy" / "bento" / name).read_bytes() == (
            DEPLOY / "bento" / name
        ).read_bytes()


@contextmanager
def answering(
    command: list[str], port: int, log: Path, cwd: Path, environ: Mapping[str, str], **user: int
) -> Iterator[str]:
    """The URL of a server that `command` has become, once it is ready."""
    url = f"http://127.0.0.1:{port}"

    def ready() -> bool:
        assert process.poll() is None, log.read_text()
        try:
            return httpx.get(f"{url}/readyz").status_code == 200
        except httpx.TransportError:
            return False

    with log.open("wb") as file:
        process = subprocess.Popen(command, cwd=cwd, env=dict(environ), stdout=file, stderr=file,
                                   **user)  # type: ignore[call-overload]  # fmt: skip
    try:
        until(ready, 240)
        yield url
    finally:
        process.terminate()
        assert process.wait(30) == 0, log.read_text()


def latents_of_a_boot(url: str) -> list[float]:
    boot = (ROOT / "docs" / "images" / "boot.png").read_bytes()
    headers = {"Content-Type": "image/png"}
    answer = httpx.post(f"{url}/v1/models/fashion/encode", content=boot, headers=headers)
    assert answer.status_code == 200, answer.text
    latents: list[float] = answer.json()["latents"][0]
    return latents


def test_it_serves_from_an_empty_folder_without_torch(
    environment: Path, bento: Path, tmp_path: Path
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    there = subprocess.run([environment / "python", "-c", "import torch"], capture_output=True)
    assert b"No module named 'torch'" in there.stderr
    port = free_port()
    environ = {"PATH": f"{environment}:/usr/bin:/bin", "HOME": str(empty), "LANG": "C.UTF-8",
               "BENTOML_DO_NOT_TRACK": "True"}  # fmt: skip
    command = [str(environment / "bentoml"), "serve", str(bento), "--port", str(port)]
    with answering(command, port, tmp_path / "log", empty, environ) as url:
        assert len(latents_of_a_boot(url)) == 64
        assert httpx.get(f"{url}/v1/models/emoji").json()["state"] == "ready"


def steps(word: str) -> list[str]:
    """The texts of one instruction in the containerfile's stage `runtime`."""
    text = (DEPLOY / "Containerfile").read_text().replace("\\\n", " ")
    stage = text.split(" AS runtime\n")[1].split("\nFROM")[0]
    return [line.removeprefix(f"{word} ") for line in stage.splitlines()
            if line.startswith(f"{word} ")]  # fmt: skip


def test_what_the_container_runs_answers_as_nobody_who_owns_nothing(
    environment: Path, place: Path, tmp_path: Path
) -> None:
    if not runs_as_nobody(str(environment / "python")):
        pytest.skip("only root can become nobody, and nobody must be able to run Python")
    app = place / "app"
    app.mkdir()
    for line in steps("COPY"):
        *sources, target = line.split()
        for source in sources:
            copied = app / target / source if target == "./" else app / target
            if (ROOT / source).is_dir():
                shutil.copytree(ROOT / source, copied, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(ROOT / source, copied)
    (version,) = steps("ARG")
    script = next(line for line in steps("RUN") if "dist-info" in line)
    subprocess.run(
        ["sh", "-ec", script.replace("/app", str(app))],
        cwd=app,
        env={"PATH": f"{environment}:/usr/bin:/bin", "VERSION": version.partition("=")[2]},
        check=True,
    )
    home = place / "tmp"  # the only place that can be written to, as in the pod
    home.mkdir()
    os.chown(home, NOBODY, NOBODY)
    settings = dict(word.split("=", 1) for line in steps("ENV") for word in shlex.split(line))
    settings = {name: value.replace("/tmp", str(home)) for name, value in settings.items()}
    environ = {"PATH": f"{environment}:/usr/bin:/bin", "PYTHONPATH": str(app), "LANG": "C.UTF-8",
               "TMPDIR": str(home), **settings}  # fmt: skip
    (entry,), (arguments,) = steps("ENTRYPOINT"), steps("CMD")
    port = free_port()
    command = [*json.loads(entry), *json.loads(arguments), "--port", str(port)]
    command[0] = str(environment / command[0])
    user = {"user": NOBODY, "group": NOBODY}
    with answering(command, port, tmp_path / "log", app, environ, **user) as url:
        assert len(latents_of_a_boot(url)) == 64
        assert list((home / "costs").iterdir())
        said = subprocess.run([command[0], "-m", "biject", "--version"], env=environ,
                              cwd=app, capture_output=True, text=True, **user)  # type: ignore[call-overload]  # fmt: skip
        assert f"version {VERSION}" in said.stdout, said.stderr
        (probe,) = re.findall(r'CMD (\[.*"-c".*\])', (DEPLOY / "Containerfile").read_text())
        asked = json.loads(probe.replace("127.0.0.1:3000", f"127.0.0.1:{port}"))
        assert subprocess.run(asked, env=environ).returncode == 0
    assert not any(path.stat().st_uid == NOBODY for path in app.rglob("*"))
