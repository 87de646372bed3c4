"""Results as JSON lines: appended as they come, so that a run can stop anywhere and go on."""

import json
import platform
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
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
    type=click.FloatRange(0, 1, min_open=True),
    default=1.0,
    metavar="SHARE",
    help="Wait, a minute at most, until other programs take no more than this share of the cores, "
    "and leave out what was measured while they took more.",
)


class Records:
    """The records of one benchmark: one file, in which each run has a name of its own."""

    def __init__(
        self,
        benchmark: str,
        run: str | None = None,
        *,
        quiet: float = 1.0,
        how: Mapping[str, Any] | None = None,
    ) -> None:
        """The records of `benchmark`.

        Args:
            benchmark: Its name, and the file's.
            run: What the run goes by; None: the commit.
            quiet: What others took more than this share of the cores during is not written.
            how: Seconds and whatever else it was measured with: what was measured in another way
                is another measurement, of the same run or not.
        """
        self.quiet = quiet
        self._how = dict(how or {})
        self._there = False  # something that was asked for, from now or from earlier
        self.path = RESULTS / f"{benchmark}.jsonl"
        self.run = run or commit()
        self._common = {
            "run": self.run,
            "commit": commit(),
            "device": device(),
            "command": f"python -m benchmarks.{benchmark} {shlex.join(sys.argv[1:])}".strip(),
        }

    def append(self, **fields: Any) -> Record:
        """Write one record down, with the run it belongs to, and give it back."""
        record = {**self._common, "how": self._how, "date": date.today().isoformat(), **fields}
        if record.get("others", 0.0) > self.quiet:
            print(f"disturbed, {record['others']:.0%}: not written down", file=sys.stderr)
            return record
        self.path.parent.mkdir(exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
        self._there = True
        return record

    def has(self, **fields: Any) -> bool:
        """Whether this run has a record with these values already, measured in the same way."""
        found = any(
            all(record.get(key) == value for key, value in fields.items()) for record in self.own()
        )
        self._there |= found
        return found

    def own(self) -> list[Record]:
        """What was recorded under this run's name in the same way."""
        return [one for one in self._all() if (one["run"], one["how"]) == (self.run, self._how)]

    def of_run(self, run: str) -> list[Record]:
        """What was recorded under this name, in the way of the last of it."""
        found = [record for record in self._all() if record["run"] == run]
        return [record for record in found if record["how"] == found[-1]["how"]]

    def told(
        self, tables: Callable[[Sequence[Record]], str], *, only_table: bool, last: bool
    ) -> str:
        """The tables of this run, under its name and the commit.

        Args:
            tables: Makes them.
            only_table: Nothing was to be measured: in whatever way this run was.
            last: And where it has no records, those of the last run that has.
        Raises:
            click.ClickException: There is nothing of what was asked for.
        """
        records = self.of_run(self.run) if only_table else self.own() if self._there else []
        if only_table and last and not records:
            records = self.last()
        if not records:
            why = "recorded" if only_table else "measured"
            raise click.ClickException(f"nothing was {why} in this run, {self.run}")
        return f"{whence(records)}\n\n{tables(records)}"

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


def whence(records: Sequence[Record]) -> str:
    """The run and the commit that records are of, in words."""
    runs, commits = (", ".join(sorted({one[key] for one in records})) for key in ("run", "commit"))
    how = ", ".join(f"{key} {value:g}" for key, value in records[-1]["how"].items())
    return f"run {runs}, commit {commits}" + (f" ({how})" if how else "")


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
