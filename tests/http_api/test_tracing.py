"""Traces: none unless wanted, refused where they cannot be sent off, sent off in both modes."""

import http.server
import threading
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx
import pytest

from server_process import MODES, Mode, running, until
from serving import tracing
from serving.settings import BadSetting


def has_exporter() -> bool:
    try:
        return find_spec("opentelemetry.exporter.otlp.proto.http") is not None
    except ModuleNotFoundError:
        return False


def test_traces_are_refused_in_a_sentence_where_nothing_sends_them_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tracing, "find_spec", lambda name: None)
    tracing.check(None)
    with pytest.raises(BadSetting, match=r"BIJECT_TRACING=otlp needs .*'\.\[tracing\]'"):
        tracing.check("otlp")


@pytest.fixture
def collected(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[bytes]]:
    """What comes in at a collector that the exporters are told of."""
    bodies: list[bytes] = []

    class Collector(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *args: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Collector) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        monkeypatch.setenv(
            "OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{server.server_address[1]}"
        )
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")  # ms
        yield bodies
        server.shutdown()
        thread.join()


@pytest.mark.skipif(not has_exporter(), reason="the extra `tracing` is not installed")
@pytest.mark.parametrize("mode", MODES)
def test_each_request_is_a_span(
    mode: Mode, models: Path, tmp_path: Path, collected: list[bytes]
) -> None:
    with running(mode, models, tmp_path / "log", "--tracing", "otlp") as server:
        assert httpx.post(server.url + "/v1/models/oracle/sample").status_code == 200
        until(lambda: b"/v1/models/oracle/sample" in b"".join(collected), 10)
    assert b"biject" in b"".join(collected)
