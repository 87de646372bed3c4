"""Workers that know of each other: slots, and what becomes of those who die without a word."""

import asyncio
import contextlib
import fcntl
import shutil
import stat
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from serving import workers
from serving.deployment import Deployment
from serving.errors import NotReady
from serving.settings import BadSetting, Settings
from serving.telemetry import Metrics
from serving.workers import Crew

DIES = """
import sys
import threading
from pathlib import Path
from serving.workers import Crew
crew = Crew(2, Path(sys.argv[1]))
print(crew.join(), flush=True)
crew.tell(ready=True)
(Path(sys.argv[1]) / f"gauge_livesum_{__import__('os').getpid()}.db").touch()
print("ready", flush=True)
sys.stdin.read()
"""


def test_each_takes_the_first_free_slot_and_all_must_be_ready(tmp_path: Path) -> None:
    folder = tmp_path / "crew"
    one, other, third = Crew(2, folder), Crew(2, folder), Crew(2, folder)
    assert (one.join(), other.join()) == (0, 1)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert one.unready() == "2 of 2 workers are not ready"
    one.tell(ready=True)
    assert one.unready() == other.unready() == "1 of 2 workers is not ready"
    other.tell(ready=True)
    assert one.unready() is None
    assert third.join() == 2  # one that replaces another may come before that one has gone
    assert one.unready() == "1 of 3 workers is not ready"
    third.tell(ready=True)
    one.leave()
    assert other.unready() is None
    assert one.join() == 0
    for crew in (one, other, third):
        crew.leave()
    assert not folder.exists()


def test_one_that_is_missing_is_not_ready(tmp_path: Path) -> None:
    crew = Crew(3, tmp_path / "crew")
    crew.join()
    crew.tell(ready=True)
    assert crew.unready() == "2 of 3 workers are not ready"


def test_an_order_is_for_all_and_its_outcome_what_all_say(tmp_path: Path) -> None:
    one, other = (Crew(2, tmp_path / "crew") for _ in range(2))
    for crew in (one, other):
        crew.join()
    first = one.order("unload", "a@1")
    assert [(order.action, order.ref) for order in other.orders()] == [("unload", "a@1")]
    assert other.orders(after=first) == []
    one.did(first)
    assert one.outcome(first) is None  # the other has not tried
    other.did(first, "it is stuck")
    assert one.outcome(first) == ["it is stuck"]
    second = other.order("load", "a@1")  # takes the place of what was ordered of it before
    assert second > first
    assert [order.action for order in one.orders()] == ["load"]
    one.did(second)
    other.did(second)
    assert one.outcome(second) == []
    assert other.outcome(first) == ["it is stuck"]
    other.leave()
    third = one.order("unload", "b@1")
    one.did(third)
    assert one.outcome(third) == []  # whoever has gone is not waited for


def test_one_that_comes_later_loads_what_the_others_have(tmp_path: Path) -> None:
    folder = tmp_path / "crew"
    one = Crew(1, folder)
    one.join()
    assert one.wanted(["a@1", "b@1"]) == ({"a@1", "b@1"}, 0)
    one.order("unload", "a@1")
    last = one.order("load", "c@2")
    later = Crew(1, folder)
    later.join()
    assert later.wanted(["a@1", "b@1", "c@2", "d@1"]) == ({"b@1", "c@2"}, last)
    for crew in (one, later):
        crew.leave()
    anew = Crew(1, folder)
    anew.join()
    assert anew.wanted(["a@1", "d@1"]) == ({"a@1", "d@1"}, 0)


def test_orders_of_an_earlier_server_are_not_carried_out(tmp_path: Path) -> None:
    folder = tmp_path / "crew"
    folder.mkdir(mode=0o700)
    (folder / "orders").write_text('[[3, "unload", "a@1"]]')
    (folder / "models").write_text('["b@1"]')
    crew = Crew(1, folder)
    crew.join()
    assert crew.wanted(["a@1"]) == ({"a@1"}, 0)


def test_a_folder_that_somebody_tidied_up_is_made_anew(tmp_path: Path) -> None:
    folder = tmp_path / "crew"
    one, other = Crew(2, folder), Crew(2, folder)
    assert (one.join(), other.join()) == (0, 1)
    shutil.rmtree(folder)
    for crew in (one, other):
        crew.tell(ready=True)
    assert one.unready() is None
    assert Crew(2, folder).join() == 2


def test_a_slot_that_is_taken_meanwhile_is_left_to_who_has_it(tmp_path: Path) -> None:
    folder = tmp_path / "crew"
    one, other, quicker = Crew(3, folder), Crew(3, folder), Crew(3, folder)
    assert (one.join(), other.join()) == (0, 1)
    shutil.rmtree(folder)
    assert quicker.join() == 0
    for crew in (one, other, quicker):
        crew.tell(ready=True)
    assert quicker.unready() is None
    assert sorted(path.name for path in folder.glob("worker-*")) == [
        f"worker-{slot}" for slot in range(3)
    ]


def test_one_that_has_left_writes_nowhere(tmp_path: Path) -> None:
    crew = Crew(1, tmp_path / "crew")
    crew.join()
    crew.leave()
    files = [(tmp_path / str(number)).open("w+") for number in range(4)]  # one has its descriptor
    crew.tell(ready=True)
    assert [file.read() for file in files] == [""] * 4
    for file in files:
        file.close()


def test_one_that_is_halted_within_the_lock_is_not_waited_for_without_end(tmp_path: Path) -> None:
    folder = tmp_path / "crew"
    crew = Crew(1, folder)
    crew.join()
    with (folder / "lock").open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        release = threading.Timer(5, file.close)  # the test must end, whatever it finds
        release.start()
        for call in (lambda: crew.tell(ready=True), crew.unready, crew.bury):
            with pytest.raises(TimeoutError, match="halted"):
                call()
        release.cancel()
    crew.tell(ready=True)
    assert crew.unready() is None


def test_a_killed_one_leaves_its_slot_and_its_gauges(tmp_path: Path) -> None:
    folder = tmp_path / "crew"
    crew = Crew(2, folder)
    crew.join()
    crew.tell(ready=True)
    with subprocess.Popen(
        [sys.executable, "-c", DIES, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    ) as process:
        assert process.stdout is not None
        assert [process.stdout.readline() for _ in range(2)] == ["1\n", "ready\n"]
        assert crew.unready() is None
        gauges = folder / f"gauge_livesum_{process.pid}.db"
        assert gauges.exists()
        process.kill()
        process.wait()
    assert crew.unready() == "1 of 2 workers is not ready"
    assert not gauges.exists()
    next_one = Crew(2, folder)
    assert next_one.join() == 1


def test_figures_of_an_earlier_server_are_not_added_to_ours(tmp_path: Path) -> None:
    folder = tmp_path / "crew"
    folder.mkdir(mode=0o700)
    for name in ("counter_1.db", "gauge_livesum_1.db"):
        (folder / name).touch()
    (folder / "worker-0").write_text("[1, true]")
    crew = Crew(1, folder)
    assert crew.join() == 0
    assert list(folder.glob("*.db")) == []
    ours = folder / "counter_2.db"
    ours.touch()
    Crew(2, folder).join()
    assert ours.exists()


def test_a_folder_of_somebody_elses_is_not_trusted(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "crew").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(PermissionError, match="remove it"):
        Crew(1, tmp_path / "crew").join()


def test_without_file_locks_there_is_one_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "fcntl", None)
    workers.check_number(1)
    assert workers.crew(1) is None
    with pytest.raises(BadSetting, match="2 workers need file locks"):
        workers.check_number(2)


def test_a_beat_that_fails_is_not_the_last(
    tmp_path: Path, models: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    failures = [ValueError("figures do not add up")]
    gauge = Metrics.gauge

    def fails_once(metrics: Metrics, *given: Any, **named: Any) -> None:
        if failures:
            raise failures.pop()
        gauge(metrics, *given, **named)

    monkeypatch.setattr(Metrics, "gauge", fails_once)

    async def main() -> None:
        deployment = Deployment(Settings(models=models), crew=Crew(1, tmp_path / "crew"))
        deployment.start()
        try:
            async with asyncio.timeout(20):
                while True:
                    with contextlib.suppress(NotReady):
                        deployment.check_ready()
                        break
                    await asyncio.sleep(0.01)
        finally:
            await deployment.stop()

    asyncio.run(main())
    assert not failures
    assert "cannot be told how this one stands" in caplog.text
