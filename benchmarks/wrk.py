"""Load by wrk: a generator in C, which leaves the cores to the server."""

import json
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_GRACE_S: Final = 60
# wrk gives latencies in microseconds, and counts answers of 400 and above as errors of status.
_SCRIPT: Final = """
local requests, sent = {}, 0
function init()
  for place, name in ipairs(%(files)s) do
    local file = io.open(name, "rb")
    requests[place] = wrk.format("%(method)s", "%(path)s", %(headers)s, file:read("*a"))
    file:close()
  end
end
function request()
  sent = sent + 1
  return requests[sent %% #requests + 1]
end
function done(summary, latency)
  local errors = summary.errors
  io.stderr:write(string.format(
    '{"requests": %%d, "microseconds": %%d, "status": %%d, "connect": %%d, "read": %%d, ' ..
    '"write": %%d, "timeout": %%d, "p50": %%f, "p90": %%f, "p99": %%f, "max": %%f}',
    summary.requests, summary.duration, errors.status, errors.connect, errors.read, errors.write,
    errors.timeout, latency:percentile(50), latency:percentile(90), latency:percentile(99),
    latency.max))
end
"""


@dataclass(frozen=True, slots=True)
class Load:
    """What wrk saw."""

    seconds: float
    good: int  # answers below 400
    errors: dict[str, int]  # by kind: status, connect, read, write, timeout
    latency_ms: dict[str, float]  # p50, p90, p99, max; of all answers


def there() -> bool:
    """Whether wrk can be run."""
    return shutil.which("wrk") is not None


def load(
    url: str,
    path: str,
    bodies: Sequence[bytes],
    *,
    connections: int,
    seconds: float,
    headers: Mapping[str, str],
) -> Load:
    """What came of asking `url` for `path` with these bodies in turn; empty ones are GETs.

    One thread, keep-alive, `connections` requests at once, for `seconds` (whole ones).
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = [folder / str(place) for place in range(len(bodies))]
        for file, body in zip(files, bodies, strict=True):
            file.write_bytes(body)
        script = folder / "load.lua"
        script.write_text(
            _SCRIPT
            % {
                "files": _lua_list([str(file) for file in files]),
                "method": "POST" if bodies[0] else "GET",
                "path": path,
                "headers": _lua_table(headers),
            }
        )
        command = ["wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s"]
        command += ["--timeout", "30s", "-s", str(script), url]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=seconds + _GRACE_S, check=False
        )
    if done.returncode != 0 or not done.stderr.startswith("{"):
        raise RuntimeError(f"wrk failed: {done.stderr or done.stdout}")
    return _read(json.loads(done.stderr))


def _read(told: dict[str, float]) -> Load:
    kinds = ("status", "connect", "read", "write", "timeout")
    return Load(
        seconds=told["microseconds"] / 1e6,
        good=int(told["requests"] - told["status"]),
        errors={kind: int(told[kind]) for kind in kinds if told[kind]},
        latency_ms={key: round(told[key] / 1e3, 3) for key in ("p50", "p90", "p99", "max")},
    )


def _lua_list(items: Sequence[str]) -> str:
    return "{" + ", ".join(json.dumps(item) for item in items) + "}"


def _lua_table(items: Mapping[str, str]) -> str:
    pairs = (f"[{json.dumps(key)}] = {json.dumps(value)}" for key, value in items.items())
    return "{" + ", ".join(pairs) + "}"
