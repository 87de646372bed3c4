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
from serving.batching import Batcher
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
            release = threading.Timer(10, lambda: fcntl.flock(file, fcntl.LOCK_UN))
            release.start()
            await asyncio.sleep(0.6)  # beats
            assert ready(deployment)
            assert release.is_alive()  # nobody waited for the lock
            release.cancel()
            fcntl.flock(file, fcntl.LOCK_UN)
            deployment.render_metrics()
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


def test_rows_that_wait_are_those_of_all_versions(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        deployment = Deployment(Settings(models=models))
        deployment.start()
        await until(lambda: ready(deployment))
        waiting = iter((3, 4, 5))  # of grey@1, grey@2, oracle@1
        monkeypatch.setattr(Batcher, "queued", property(lambda batcher: next(waiting)))
        said = deployment.render_metrics().decode()
        assert 'biject_queue_rows{model="grey"} 7.0' in said
        assert 'biject_queue_rows{model="oracle"} 5.0' in said
        await deployment.stop()

    asyncio.run(scenario())


def test_all_models_are_closed_at_once_and_within_the_grace(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    graces: list[float] = []
    close = Batcher.close

    async def slowly(batcher: Batcher, grace: float) -> None:
        graces.append(grace)
        await asyncio.sleep(0.3)
        await close(batcher, grace)

    async def scenario() -> None:
        deployment = Deployment(Settings(models=models))
        deployment.start()
        await until(lambda: ready(deployment))
        monkeypatch.setattr(Batcher, "close", slowly)
        await deployment.registry.close(time.monotonic() + 2)
        assert len(graces) == 3
        assert all(1.9 < grace <= 2 for grace in graces)
        graces.clear()
        monkeypatch.setattr(draining, "FINISHING", 0.0)
        await deployment.drain()
        monkeypatch.setattr(draining, "FINISHING", 1000.0)
        await deployment.stop()
        assert max(graces) < draining.GRACE

    asyncio.run(scenario())


def test_a_model_that_was_being_opened_at_the_end_is_closed_too(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opening, go = threading.Event(), threading.Event()
    load = Registry._load

    def slowly(registry: Registry, model: Any, slot: int) -> None:
        opening.set()
        assert go.wait(10)
        load(registry, model, slot)

    monkeypatch.setattr(Registry, "_load", slowly)

    async def scenario() -> None:
        deployment = Deployment(Settings(models=models))
        deployment.start()
        await until(opening.is_set)
        stopping = asyncio.create_task(deployment.stop())
        await asyncio.sleep(0.1)
        go.set()
        await stopping
        (first,) = [model.loaded for model in deployment.registry.models if model.loaded]
        with pytest.raises(NotReady, match="shutting down"):
            first.batcher.check("decode", 1, None)

    asyncio.run(scenario())
