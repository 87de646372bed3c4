"""Results as JSON lines: appended as they come, so that a run can stop anywhere and go on."""

import json
import platform
import subprocess
import sys
from collections.abc import Iterator, Sequence
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import click

from serving.cores import usable_cores

ROOT: Final = Path(__file__).resolve().parent.parent
RESULTS: Final = ROOT / "benchmarks" / "results"
Record = dict[str, Any]


QUIET: Final = click.option(
    "--quiet",
    type=click.FloatRange(0, 1),
    default=1.0,
    metavar="SHARE",
    help="Wait, a minute at most, until other programs take no more than this share of the cores, "
    "and leave out what was measured while they took more.",
)


class Records:
    """The records of one benchmark: one file, in which each run has a name of its own."""

    def __init__(self, benchmark: str, run: str | None = None, *, quiet: float = 1.0) -> None:
        """`quiet`: what others took more than this share of the cores during is not written."""
        self.quiet = quiet
        self.path = RESULTS / f"{benchmark}.jsonl"
        self.run = run or commit()
        self._common = {
            "run": self.run,
            "commit": commit(),
            "device": device(),
            "command": f"python -m benchmarks.{benchmark} {' '.join(sys.argv[1:])}".strip(),
        }

    def append(self, **fields: Any) -> Record:
        """Write one record down, with the run it belongs to, and give it back."""
        record = {**self._common, "date": date.today().isoformat(), **fields}
        if record.get("others", 0.0) > self.quiet:
            print(f"disturbed, {record['others']:.0%}: not written down", file=sys.stderr)
            return record
        self.path.parent.mkdir(exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
        return record

    def has(self, **fields: Any) -> bool:
        """Whether this run has a record with these values already."""
        return any(
            all(record.get(key) == value for key, value in fields.items())
            for record in self.of_run(self.run)
        )

    def of_run(self, run: str) -> list[Record]:
        """All that was recorded under this name."""
        return [record for record in self._all() if record["run"] == run]

    def latest(self) -> list[Record]:
        """The records of this run; of the last one in the file where this one has none yet."""
        return self.of_run(self.run) or self.last()

    def last(self) -> list[Record]:
        """The records of the last run in the file."""
        records = list(self._all())
        return self.of_run(records[-1]["run"]) if records else []

    def _all(self) -> Iterator[Record]:
        if self.path.exists():
            for line in self.path.read_text(encoding="utf-8").splitlines():
                yield json.loads(line)


def chosen(text: str, known: Sequence[str]) -> list[str]:
    """The names in a comma-separated option.  Raises UsageError for one that is not known."""
    names = text.split(",")
    if strays := [name for name in names if name not in known]:
        raise click.UsageError(f"no {strays[0]!r} here; there is: {', '.join(known)}")
    return names


def commit() -> str:
    """The short name of the commit that is checked out; with a plus where files differ from it."""
    name = _git("rev-parse", "--short", "HEAD")
    changed = _git("status", "--porcelain", "--untracked-files=no", "--", ":!benchmarks/results")
    return name + ("+" if changed else "")


def device() -> str:
    """What this runs on, in words."""
    return (
        f"{usable_cores()} cores of {_processor()}, {platform.system()}, "
        f"Python {platform.python_version()}, onnxruntime {_onnxruntime()}"
    )


def _git(*arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return done.stdout.strip() if done.returncode == 0 else "unknown"


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return " ".join(line.partition(":")[2].split())
    return platform.processor() or platform.machine()


def _onnxruntime() -> str:
    try:
        return version("onnxruntime-gpu")
    except ModuleNotFoundError:
        return version("onnxruntime")
