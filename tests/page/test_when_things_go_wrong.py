"""A server that loads, is busy, wants a key or is gone: the page says so, waits, and goes on."""

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Page, expect

from http_api.conftest import served
from page.conftest import OpenTab
from server_process import free_port, until
from serving.engine import Engine
from serving.settings import Settings


def alive(page: Page) -> None:
    """The wall is there, and nothing complains."""
    page.wait_for_selector(".wall:not([aria-busy]) .tile")
    expect(page.locator("#banner")).to_be_hidden()
    expect(page.locator("#state")).to_have_text("ready")


def test_a_server_without_models_then_gone_then_back(
    open_tab: OpenTab, shown_models: Path, tmp_path: Path
) -> None:
    port = free_port()
    banner = "#banner-text"
    with served(Settings(models=tmp_path), wait=False, port=port):
        page = open_tab(f"http://127.0.0.1:{port}/", refused=True)
        expect(page.locator(banner)).to_contain_text("not ready")
        expect(page.locator(banner)).to_contain_text("no bundle in")
        expect(page.locator("#state")).to_have_text("loading")
    expect(page.locator(banner)).to_contain_text("does not answer")
    expect(page.locator("#state")).to_have_text("not reachable")
    settings = Settings(models=shown_models, default="oracle")
    with served(settings, port=port):
        alive(page)
        expect(page.locator("#model")).to_have_value("oracle")
    page.get_by_role("button", name="Another seed").click()  # asked while nobody is there
    expect(page.locator(banner)).to_contain_text("does not answer")
    shown = page.locator(".wall .tile").first.get_attribute("aria-label")
    with served(settings, port=port):
        alive(page)
        expect(page.locator(".wall .tile").first).not_to_have_attribute("aria-label", shown or "")


def test_a_key_is_asked_for_and_stays_in_the_tab(open_tab: OpenTab, shown_models: Path) -> None:
    with served(Settings(models=shown_models, default="oracle", api_keys=("s3cret",))) as running:
        page = open_tab(f"http://127.0.0.1:{running.port}/", refused=True)
        expect(page.locator("#banner-text")).to_contain_text("wants an API key")
        page.get_by_role("button", name="Enter a key").click()
        page.get_by_label("Key", exact=True).fill("wrong")
        page.keyboard.press("Enter")
        expect(page.locator("#banner-text")).to_contain_text("a wrong key")
        page.get_by_role("button", name="Enter a key").click()
        page.get_by_label("Key", exact=True).fill("s3cret")
        page.get_by_role("button", name="Use it").click()
        alive(page)
        page.reload()
        alive(page)
        kept = page.evaluate("[JSON.stringify(localStorage), document.cookie, location.href]")
        assert not any("s3cret" in each for each in kept)
        command = page.locator(".command code").first.get_attribute("data-whole") or ""
        assert "$BIJECT_KEY" in command
        assert "s3cret" not in page.content()


def test_a_busy_server_is_asked_again(
    open_tab: OpenTab, shown_models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real 429: the queue is full of others' rows until the engine may go on."""
    go, held = threading.Event(), threading.Event()
    go.set()
    run = Engine.run

    def slowly(engine: Engine, graph: str, inputs: Sequence[Any]) -> list[Any]:
        if not go.is_set():
            held.set()
            assert go.wait(60)
        return run(engine, graph, inputs)

    monkeypatch.setattr(Engine, "run", slowly)
    settings = Settings(
        models=shown_models, default="oracle", threads=1, queue_images=64, max_images=64
    )
    with served(settings) as running, ThreadPoolExecutor(2) as pool:
        base = f"http://127.0.0.1:{running.port}/"
        page = open_tab(base, refused=True)
        alive(page)
        go.clear()
        try:
            ask = f"{base}v1/models/oracle/sample"
            first = pool.submit(httpx.get, ask, params={"n": 1}, timeout=60)
            assert held.wait(20)
            second = pool.submit(httpx.get, ask, params={"n": 60}, timeout=60)
            batcher = running.deployment.registry.get("oracle").ready.batcher
            until(lambda: batcher.queued == 60, 20)
            page.get_by_label("Seed", exact=True).fill("99")
            expect(page.locator("#banner-text")).to_contain_text("too much to do")
            expect(page.locator("#state")).to_have_text("busy")
        finally:
            go.set()
        expect(page.locator(".wall .tile").first).to_have_attribute(
            "aria-label", "Sample 1 of seed 99"
        )
        alive(page)
        assert first.result().status_code == second.result().status_code == 200


def test_what_is_refused_for_good_is_said(open_tab: OpenTab, shown_models: Path) -> None:
    settings = Settings(models=shown_models, default="oracle", max_images=16)
    with served(settings) as running:
        page = open_tab(f"http://127.0.0.1:{running.port}/", refused=True)
        expect(page.locator("#error-text")).to_contain_text("n must be at least 1 and at most 16")
        page.get_by_role("button", name="Dismiss").click()
        expect(page.locator("#error")).to_be_hidden()
