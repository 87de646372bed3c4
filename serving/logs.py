"""Logs to stderr, as text or one JSON object a line."""

import logging
import sys

import orjson

from serving.settings import LogFormat


class JsonLines(logging.Formatter):
    """A record as one line of JSON: time, level, logger, message, and the traceback if any."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return orjson.dumps(line).decode()


def configure(form: LogFormat) -> None:
    """Send what the logger `biject` and those below it say to stderr, and nowhere else."""
    handler = logging.StreamHandler(sys.stderr)
    text = logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
    handler.setFormatter(JsonLines() if form == "json" else text)
    log = logging.getLogger("biject")
    log.handlers[:] = [handler]
    log.setLevel(logging.INFO)
    log.propagate = False
    # It warns of every malformed form, in words of the sender's; the answer says so already.
    logging.getLogger("python_multipart").setLevel(logging.ERROR)
