"""`biject bench plan`: hardware from a measured table, against sums done by hand."""

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

import biject
from oracle import make_oracle
from serving.bundle import read
from serving.costs import HANDLING, Costs
from serving.engine import Engine
from serving.planning import Table, capacity, once, steady
from serving.tuning import costs_of

ROOT = Path(__file__).parents[2]
MS = 1e-3
OF = '{"model": "m@1", "device": "cpu", "workers": 1'


def table(device: str = "cpu") -> Table:
    # 10 rows in 9.8 ms, and HANDLING: 1 ms a row.  One row alone costs five times that.
    points = {"encode": {1: 4.8 * MS, 10: 10 * MS - HANDLING}}
    return Table(model="m@1", device=device, workers=4, costs=Costs(points=points))


def test_a_core_computes_and_handles() -> None:
    of = capacity(table(), "encode", image_seconds=0.25 * MS)
    assert of.rows == 10
    assert of.images == pytest.approx(1000)  # 1 ms each
    assert of.served == pytest.approx(800)  # 1.25 ms each
    assert of.cores == 0


def test_a_gpu_computes_and_cores_handle_beside_it() -> None:
    of = capacity(table("cuda"), "encode", image_seconds=2 * MS)
    assert of.images == of.served == pytest.approx(1000)
    assert of.cores == pytest.approx(2)  # 1000 images x 2 ms
    need = steady("x", 3000, of, load=0.6)
    assert (need.units, need.cores) == (5, 10)


def test_a_steady_demand_leaves_room() -> None:
    of = capacity(table(), "encode", image_seconds=0.25 * MS)
    assert steady("x", 4800, of, load=0.6).units == 10  # 4800 / (800 x 0.6)
    assert steady("x", 4801, of, load=0.6).units == 11


def test_work_done_once_takes_hours() -> None:
    of = capacity(table(), "encode", image_seconds=0.25 * MS)
    need = once("x", 10_368_000, of, units=4)
    assert need.images == pytest.approx(2880)  # 800 x 4 x 0.9
    assert need.hours == pytest.approx(1)


def run(*arguments: str) -> tuple[int, str, str]:
    done = CliRunner().invoke(biject.main, ["bench", "plan", *arguments])
    return done.exit_code, done.stdout, done.stderr


def test_a_table_that_a_server_keeps_is_read(tmp_path: Path) -> None:
    engine = Engine(read(make_oracle(tmp_path)), device="cpu", threads=2)
    costs_of(engine, tmp_path / "costs")
    (file,) = (tmp_path / "costs").iterdir()
    code, out, err = run(
        str(file), "--graph", "score", "--per-day", "86400", "--peak", "2", "--json"
    )
    assert code == 0, err
    found = json.loads(out)
    assert (found["model"], found["device"], found["graph"]) == ("oracle@1", "cpu", "score")
    day, second, whole = found["needs"]
    assert day["images"] == pytest.approx(2)  # one a second, twice that at the peak
    assert second["images"] == 1000
    assert whole["units"] == 2  # what the table was measured with
    assert found["served_per_unit"] < found["images_per_unit"]
    code, out, err = run(str(file))
    assert code == 0, err
    for words in ("1,000,000 images a day", "1,000 images a second", "1,000,000,000 images once"):
        assert words in out


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{", "no table that a server has kept"),
        ('{"points": {"encode": {"1": 1}}}', "it has no 'model'"),
        (
            '{"model": "m", "device": "cpu", "workers": 1, "points": {"encode": {"1": 0}}}',
            "positive",
        ),
        (
            '{"model": "m", "device": "cpu", "workers": 1, "points": {"e": {"1": 1}}}',
            "no graph 'encode'",
        ),
        (None, "cannot be read"),
    ],
)
def test_wrong_tables_are_named_in_a_sentence(text: str | None, why: str, tmp_path: Path) -> None:
    file = tmp_path / "table.json"
    if text is not None:
        file.write_text(text)
    code, _, err = run(str(file))
    assert code == 2
    assert why in err
    assert "Traceback" not in err


def test_the_document_shows_what_the_command_prints(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    text = (ROOT / "docs" / "operations.md").read_text()
    (block,) = re.findall(r"```\n(\$ biject bench plan .*?)```", text, re.DOTALL)
    commands = re.findall(r"^\$ biject bench plan (.*)$", block, re.MULTILINE)
    assert len(commands) == 2
    printed = [f"$ biject bench plan {one}\n{run(*one.split())[1]}" for one in commands]
    assert block == "".join(printed)
