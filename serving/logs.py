"""Logs to stderr, as text or one JSON object a line; the server's keys are never in them."""

import logging
import sys
import time
from typing import Final

import orjson
from starlette.types import Scope

from serving import telemetry
from serving.security import Redaction
from serving.settings import Settings
from serving.telemetry import Trace

_PATH: Final = 500  # characters of a path that are logged
_MISTAKES: Final = ("Invalid HTTP request received.", "Unsupported upgrade request.")
_requests: Final = logging.getLogger("biject.access")


class JsonLines(logging.Formatter):
    """A record as one line of JSON: time, level, logger, message, its facts, and a traceback.

    `request_id` is that of the request at hand, where there is one.
    """

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if (trace := telemetry.at_hand()) is not None:
            line["request_id"] = trace.request_id
        line |= getattr(record, "facts", {})
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return orjson.dumps(line, default=str).decode()


class _Discreet(logging.Formatter):
    """Another formatter's lines without the keys that clients put into what they send."""

    def __init__(self, inner: logging.Formatter, redaction: Redaction) -> None:
        super().__init__()
        self._inner = inner
        self._redaction = redaction

    def format(self, record: logging.LogRecord) -> str:
        return self._redaction(self._inner.format(record))


def configure(settings: Settings, *also: str) -> None:
    """Send what the logger `biject`, and others, and those below them say to stderr alone."""
    handler = logging.StreamHandler(sys.stderr)
    text = logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
    lines = JsonLines() if settings.log == "json" else text
    handler.setFormatter(_Discreet(lines, Redaction(settings)))
    for name in ("biject", *also):
        log = logging.getLogger(name)
        log.handlers[:] = [handler]
        log.setLevel(logging.INFO)
        log.propagate = False
    logging.getLogger("uvicorn.error").addFilter(_worth_a_line)
    # It warns of every malformed form, in words of the sender's; the answer says so already.
    logging.getLogger("python_multipart").setLevel(logging.ERROR)


def _worth_a_line(record: logging.LogRecord) -> bool:
    """Whether uvicorn's log should have this: strangers must not fill it with their mistakes."""
    return record.levelno != logging.WARNING or record.msg not in _MISTAKES


def path(scope: Scope) -> str:
    """A request's path for a line of a log, without its query.

    As it was sent: what stands for a line's end in it must not end the line.
    """
    sent: bytes = scope.get("raw_path", b"")
    shown = sent.decode("latin-1").partition("?")[0][:_PATH]
    return shown.encode("unicode_escape").decode("ascii")


def access(trace: Trace, scope: Scope, status: int) -> None:
    """One line for a request that is over.  No query, no headers: keys may be in them."""
    facts = {
        "method": scope["method"],
        "path": path(scope),
        "status": status,
        "ms": round((time.monotonic() - trace.started) * 1e3, 2),
        "request_id": trace.request_id,
        "model": trace.model,
        "verb": trace.verb,
    }
    words = " ".join(str(fact) for fact in facts.values() if fact != "")
    _requests.info("%s", words, extra={"facts": facts})
