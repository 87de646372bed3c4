"""`biject serve`: what it refuses before it starts, what it says, how it ends."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner

from oracle import make_oracle
from server_process import free_port
from serving import bare, tracing
from serving.cli import _usable, serve
from serving.security import keys
from serving.settings import VARIABLES, BadSetting, Settings

ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def serving(*arguments: str, cwd: Path, log: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """The command as a person starts it; the process and its URL, once it is ready."""
    port = free_port()
    command = [sys.executable, "-m", "biject", "serve", *arguments, "--port", str(port)]
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    with log.open("wb") as file:
        process = subprocess.Popen(command, cwd=cwd, env=environ, stdout=file, stderr=file)
    url = f"http://127.0.0.1:{port}"
    try:
        end = time.monotonic() + 60
        while time.monotonic() < end:
            assert process.poll() is None, log.read_text()
            try:
                if httpx.get(url + "/readyz").status_code == 200:
                    break
            except httpx.TransportError:
                time.sleep(0.1)
        yield process, url
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def test_it_serves_from_anywhere_says_what_and_ends_on_sigterm(tmp_path: Path) -> None:
    make_oracle(tmp_path / "models")
    broken = make_oracle(tmp_path / "models", version=2)
    (broken / "score.onnx").write_bytes(b"nonsense")
    log = tmp_path / "log"
    with serving("models", "--api-keys", "k", cwd=tmp_path, log=log) as (process, url):
        assert httpx.get(url + "/v1/models").status_code == 401
        answer = httpx.post(url + "/v1/models/oracle/sample", headers={"X-API-Key": "k"})
        assert answer.json()["model"] == "oracle@1"
        said = log.read_text()
        assert "model: oracle@1 (8 x 8 x 3, latents of 48)" in said
        assert "device: cpu" in said
        assert f"url: {url}" in said
        assert "left out: " in said
        assert "score.onnx" in said
        begin = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(15) == 0
        assert time.monotonic() - begin < 8
        with pytest.raises(httpx.ConnectError):
            httpx.get(url + "/livez")
    assert "Traceback" not in log.read_text()


def refused(*arguments: str, code: int) -> str:
    result = CliRunner().invoke(serve, list(arguments))
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    assert result.stderr.startswith("Error: ")
    return result.stderr


def test_nothing_to_serve_is_wrong_use(tmp_path: Path) -> None:
    assert "not a directory" in refused(str(tmp_path / "gone"), code=2)
    assert "nothing to serve" in refused(str(tmp_path), code=2)
    bundle = make_oracle(tmp_path)
    (bundle / "decode.onnx").unlink()
    assert "decode.onnx" in refused(str(tmp_path), code=2)


def test_a_default_that_is_not_there_is_wrong_use(oracle_models: Path) -> None:
    words = refused(str(oracle_models), "--default", "nope", code=2)
    assert "'nope'" in words
    assert "oracle@1" in words


def test_a_default_may_be_an_alias_of_what_is_there(tmp_path: Path) -> None:
    make_oracle(tmp_path)
    (tmp_path / "aliases.json").write_text('{"prod": "oracle@1", "x": "y"}')
    for good in ("prod", "oracle", "oracle@1"):
        assert len(_usable(tmp_path, Settings(default=good))) == 1
    assert "'x'" in refused(str(tmp_path), "--default", "x", code=2)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "aliases.json is not JSON"),
        ("[]", "must be an object"),
        ('{"default": "oracle"}', "'default' is no name"),
        ('{"Prod": "oracle"}', "'Prod' is no name"),
        ('{"prod": "oracle@one"}', "prod must be NAME or NAME@VERSION, got 'oracle@one'"),
        ('{"prod": 1}', "prod must be NAME or NAME@VERSION, got 1"),
        ('{"prod": "test", "test": "oracle"}', "prod stands for test, which is an alias itself"),
    ],
)
def test_aliases_that_are_none_are_wrong_use(tmp_path: Path, text: str, words: str) -> None:
    make_oracle(tmp_path)
    (tmp_path / "aliases.json").write_text(text)
    assert words in refused(str(tmp_path), code=2)


def test_a_port_in_use_is_said_in_a_sentence(oracle_models: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        words = refused(str(oracle_models), "--port", str(port), code=1)
    assert f"port {port}: address already in use" in words


def test_a_host_that_does_not_exist_is_wrong_use(oracle_models: Path) -> None:
    assert "no host 'no.such.invalid'" in refused(
        str(oracle_models), "--host", "no.such.invalid", code=2
    )


def test_cuda_without_cuda_does_not_start(
    oracle_models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.engine._gpus", lambda: (0, "there is none"))
    assert "there is none" in refused(str(oracle_models), "--device", "cuda", code=2)


@pytest.mark.parametrize(
    ("flag", "value", "words"),
    [
        ("--workers", "0", "BIJECT_WORKERS must be at least 1"),
        ("--deadline-ms", "soon", "BIJECT_DEADLINE_MS must be a whole number"),
        ("--threads", "-1", "BIJECT_THREADS must be 0 or more"),
        ("--max-models", "-1", "BIJECT_MAX_MODELS must be 0 or more"),
        ("--queue-images", "5", "BIJECT_QUEUE_IMAGES (5) must not be below"),
    ],
)
def test_bad_settings_are_named(oracle_models: Path, flag: str, value: str, words: str) -> None:
    assert words in refused(str(oracle_models), flag, value, code=2)


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("BIJECT_WORKERS", "0", "BIJECT_WORKERS must be at least 1, got 0"),
        ("BIJECT_TRACING", "otlp", "BIJECT_TRACING=otlp needs"),
    ],
)
def test_uvicorns_own_start_refuses_bad_settings_in_a_sentence(
    variable: str, value: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracing, "find_spec", lambda name: None)
    monkeypatch.setenv(variable, value)
    result = CliRunner().invoke(bare.main, ["--host", "127.0.0.1", "--port", "1"])
    assert result.exit_code == 2
    assert result.stderr.startswith(f"biject: {words}")
    assert result.stderr.count("\n") == 1


def test_every_setting_is_a_flag() -> None:
    flags = {option for parameter in serve.params for option in parameter.opts}
    assert {f"--{name.replace('_', '-')}" for name in VARIABLES if name != "models"} <= flags
    assert "models" in flags


def test_help_tells_the_defaults() -> None:
    said = " ".join(CliRunner().invoke(serve, ["--help"]).output.split())
    for flag in ("max-images", "queue-images", "deadline-ms", "workers", "device", "log"):
        default = getattr(Settings(), flag.replace("-", "_"))
        assert re.search(rf"--{flag} [^\]]*\[?[^\]]*\]?[^\[]*\[default: {default}\]", said), flag


def test_the_environment_gives_the_settings() -> None:
    environ = {
        "BIJECT_MODELS": "/a/b",
        "BIJECT_API_KEYS": "one, two,,",
        "BIJECT_DEADLINE_MS": " 500 ",
        "BIJECT_DEVICE": "cpu",
        "BIJECT_LOG": "json",
        "BIJECT_MAX_IMAGES": "",
    }
    settings = Settings.from_env(environ)
    assert settings.models == Path("/a/b")
    assert settings.api_keys == keys(("one", "two"))
    assert "one" not in repr(settings.api_keys)
    assert (settings.deadline_ms, settings.max_images) == (500, 4096)
    assert (settings.device, settings.log) == ("cpu", "json")
    for variable, value in (("BIJECT_DEVICE", "tpu"), ("BIJECT_LOG", "xml")):
        with pytest.raises(BadSetting, match=f"{variable} must be one of"):
            Settings.from_env({variable: value})
