"""What a server process does beside answering: it loads, tells the other workers, ends."""

import asyncio
import errno
import fcntl
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from serving import deployment as module
from serving import draining
from serving.deployment import Deployment
from serving.errors import NotReady
from serving.registry import Registry
from serving.settings import Settings
from serving.workers import Crew


@pytest.fixture(autouse=True)
def no_signals(monkeypatch: pytest.MonkeyPatch) -> None:
    """The signals of the process that runs the tests are nobody's here."""
    monkeypatch.setattr(draining, "on_signal", lambda drain: None)


async def until(true: Callable[[], bool], seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not come to pass"
        await asyncio.sleep(0.01)


def ready(deployment: Deployment) -> bool:
    try:
        deployment.check_ready()
    except NotReady:
        return False
    return True


def test_models_that_cannot_be_looked_for_are_said_and_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def forbidden(registry: Registry) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(tmp_path))

    monkeypatch.setattr(Registry, "find", forbidden)

    async def scenario() -> None:
        deployment = Deployment(Settings(models=tmp_path))
        deployment.start()
        await until(lambda: deployment.registry.reason != "the models are loading")
        with pytest.raises(NotReady, match=r"cannot be loaded: .*Permission denied"):
            deployment.check_ready()
        await deployment.stop()

    asyncio.run(scenario())
    assert "PermissionError" in caplog.text  # the traceback


def test_a_worker_that_could_not_be_heard_once_goes_on_and_logs_it_once(
    models: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    full = True
    told = 0
    tell = Crew.tell

    def telling(crew: Crew, **given: Any) -> Any:
        nonlocal told
        told += 1
        if full:
            raise OSError(errno.ENOSPC, "No space left on device")
        return tell(crew, **given)

    monkeypatch.setattr(Crew, "tell", telling)
    monkeypatch.setattr(module, "_BEAT", 0.01)

    async def scenario() -> None:
        nonlocal full
        crew = Crew(1, tmp_path / "crew")
        deployment = Deployment(Settings(models=models), crew=crew)
        deployment.start()
        await until(lambda: told > 3)
        full = False
        await until(lambda: crew.unready() is None)
        await deployment.stop()

    asyncio.run(scenario())
    assert caplog.text.count("No space left on device\n") == 1


def test_a_worker_that_is_halted_within_the_lock_does_not_halt_the_others(
    models: Path, tmp_path: Path
) -> None:
    async def scenario() -> None:
        deployment = Deployment(Settings(models=models), crew=Crew(1, tmp_path / "crew"))
        deployment.start()
        await until(lambda: ready(deployment))
        with (tmp_path / "crew" / "lock").open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            release = threading.Timer(3, lambda: fcntl.flock(file, fcntl.LOCK_UN))
            release.start()
            begin = time.monotonic()
            await asyncio.sleep(0.6)  # beats
            assert ready(deployment)
            assert time.monotonic() - begin < 2
            deployment.render_metrics()
            release.join()
        await deployment.stop()

    asyncio.run(scenario())


def test_it_is_not_ready_before_all_workers_are(models: Path, tmp_path: Path) -> None:
    async def scenario() -> None:
        other = Crew(2, tmp_path / "crew")
        other.join()
        deployment = Deployment(Settings(models=models), crew=Crew(2, tmp_path / "crew"))
        deployment.start()
        await until(lambda: deployment.registry.unready() is None)
        with pytest.raises(NotReady, match="workers are not ready"):
            deployment.check_ready()
        other.tell(ready=True)
        await until(lambda: ready(deployment))
        other.leave()
        await until(lambda: not ready(deployment))
        await deployment.stop()
        assert not (tmp_path / "crew").exists()

    asyncio.run(scenario())
