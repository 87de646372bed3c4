"""`biject bench` through the command line, against a real server of the oracle."""

import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

import biject
from http_api.conftest import served
from oracle import make_oracle
from serving.load.bodies import BODIES, Taken, payloads
from serving.settings import Settings
from serving.throughput import speed_of

SHORT = ("--seconds", "0.2", "--warm-up", "0", "--connections", "2")


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server of oracle/1 that wants the key `k`."""
    folder = tmp_path_factory.mktemp("benched")
    make_oracle(folder)
    settings = Settings(models=folder, api_keys=("k",))
    with served(settings) as running:
        yield f"127.0.0.1:{running.port}"


def bench(*arguments: Any, key: str | None = "k") -> Result:
    environ = {"BIJECT_API_KEY": key}
    given = ["bench", *map(str, arguments)]
    return CliRunner().invoke(biject.main, given, env=environ, catch_exceptions=False)


def rows(*arguments: Any) -> list[dict[str, Any]]:
    result = bench("serve", *arguments, "--json")
    assert result.exit_code == 0, result.output
    found: list[dict[str, Any]] = json.loads(result.stdout)["rows"]
    return found


def refused(words: str, *arguments: Any, key: str | None = "k") -> None:
    result = bench(*arguments, key=key)
    assert result.exit_code == 2, result.output
    assert words in result.stderr
    assert "Traceback" not in result.output
    assert result.stdout == ""


def test_a_table_on_stdout_and_progress_on_stderr(url: str) -> None:
    result = bench("serve", url, "--seconds", "0.2", "--warm-up", "0", "--connections", "1,3")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0].split()[:3] == ["load", "answers/s", "200s/s"]
    assert lines[1].startswith("1 connections ")
    assert lines[2].startswith("3 connections ")
    assert "200: " in lines[2]
    assert result.stderr == "1 connections: 0.2 s\n3 connections: 0.2 s\n"


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("batch", [1, 3])
def test_every_body_is_one_that_the_server_takes(url: str, body: str, batch: int) -> None:
    (row,) = rows(url, "--body", body, "--batch", batch, *SHORT)
    assert set(row["statuses"]) == {"200"}, row
    assert row["images_per_second"] == pytest.approx(batch * row["goodput"], rel=0.01)


@pytest.mark.parametrize(
    ("verb", "batch"),
    [
        ("decode", 2),
        ("reconstruct", 2),
        ("score", 2),
        ("interpolate", 2),
        ("sample", 2),
        ("vary", 1),
    ],
)
def test_every_verb_can_be_asked(url: str, verb: str, batch: int) -> None:
    (row,) = rows(url, "--verb", verb, "--batch", batch, *SHORT)
    assert set(row["statuses"]) == {"200"}, row


def test_an_open_loop(url: str) -> None:
    row, fast = rows(url, "--rate", "50,100", "--even", "--seconds", "0.4", "--warm-up", "0")
    assert row["load"] == "50 /s"
    assert (row["sent"], fast["sent"]) == (20, 40)
    assert row["statuses"] == {"200": 20}


def test_images_of_a_folder(url: str, tmp_path: Path) -> None:
    Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(tmp_path / "a.png")
    (row,) = rows(url, "--images", tmp_path, *SHORT)
    assert set(row["statuses"]) == {"200"}
    refused("no images in", "serve", url, "--images", make_folder(tmp_path / "empty"))
    refused("is not a folder", "serve", url, "--images", tmp_path / "gone")


def make_folder(path: Path) -> Path:
    path.mkdir()
    return path


def test_answers_that_are_no_200_are_counted_and_said(url: str) -> None:
    result = bench("serve", url, "--verb", "interpolate", *SHORT)  # of one image
    assert result.exit_code == 1
    assert "422: " in result.stdout
    assert "first refusal: 422: " in result.stderr
    assert "not one request was answered with 200" in result.stderr


def test_wrong_use_is_one_sentence(url: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        nobody = f"http://127.0.0.1:{probe.getsockname()[1]}"
    refused(f"no server answers at {nobody}: connection refused", "serve", nobody)
    refused("no server answers at no.such.invalid", "serve", "no.such.invalid")
    refused("names no host", "serve", "http://")
    refused("no server answers", "serve", f"http://{'a' * 70}.é.example")
    refused("printable", "serve", url, "--accept", "a\r\nb: c")
    refused("no model 'a b é'", "serve", url, "--model", "a b é")
    refused("no model 'nope'", "serve", url, "--model", "nope")
    refused("says 404: there is nothing at /else", "serve", f"{url}/else/where")
    refused("says 401: a wrong key", "serve", url, key="guess")
    refused("says 401: a key is wanted", "serve", url, key=None)
    refused("takes numbers", "serve", url, "--verb", "decode", "--body", "jpeg")
    refused("no list of numbers", "serve", url, "--connections", "1,x")
    for rate in ("0", "inf", "nan", "1e9"):
        refused("no list of numbers", "serve", url, "--rate", rate)


def test_another_kind_of_server_is_wrong_use() -> None:
    with HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as other:
        thread = threading.Thread(target=other.handle_request)
        thread.start()
        refused("is no biject server: 501", "serve", f"127.0.0.1:{other.server_port}")
        thread.join()


def test_vectors_are_asked_for_in_numbers() -> None:
    taken = Taken.of({"vector": {"size": 5}, "latent": {"size": 2}})
    (first, *_) = payloads(taken, "encode", body="json", batch=3, folder=None)
    assert np.shape(json.loads(first.body)["vectors"]) == (3, 5)
    (first, *_) = payloads(taken, "decode", body=None, batch=3, folder=None)
    assert first.content_type == "application/x-npy"
    with pytest.raises(ValueError, match="latent"):
        Taken.of({"object": "list"})


def test_what_takes_longer_than_it_is_given_is_measured_once() -> None:
    assert speed_of(lambda: None, callers=2, rows=3, seconds=0).images > 0


def test_the_engine_is_measured_against_a_bare_session(oracle_bundle: Path) -> None:
    short = ("--batches", "1,4", "--seconds", "0.02", "--rounds", "1")
    result = bench("engine", oracle_bundle, *short)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert len(lines) == 1 + 4 * 2
    assert lines[0].startswith("graph")
    found = json.loads(bench("engine", oracle_bundle, *short, "--graphs", "score", "--json").stdout)
    assert [(row["graph"], row["batch"]) for row in found] == [("score", 1), ("score", 4)]
    for row in found:
        assert row["raw_images"] == max(row["raw"].values()) > 0
        ratio = row["batcher_images"] / row["raw_images"]
        rounded = 0.001 + 0.06 * (1 + ratio) / row["raw_images"]  # all three are
        assert row["batcher_to_raw"] == pytest.approx(ratio, abs=rounded)
    refused("has no graph 'dream'", "engine", oracle_bundle, "--graphs", "dream")
    refused("is not a directory", "engine", oracle_bundle / "gone")
