"""A real Chromium in front of real servers, and what every test of the page wants to know of it."""

import base64
import contextlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import httpx
import numpy as np
import numpy.typing as npt
import pytest
from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, sync_playwright

from http_api.conftest import Served, served
from lines import make_line
from oracle import make_oracle
from serving.settings import BUNDLES, Settings

Pixels = npt.NDArray[np.uint8]
OpenTab = Callable[..., Page]
_BROWSERS: Final = ("chromium", "chromium-browser", "google-chrome")
_CAMERA: Final = ("--use-fake-device-for-media-stream",)  # Chromium's own make-believe
_READ: Final = """canvases => canvases.map(({ width, height }, i) => {
  const copy = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  copy.drawImage(canvases[i], 0, 0);
  const { data } = copy.getImageData(0, 0, width, height);
  let text = "";
  for (let j = 0; j < data.length; j += 4096) {
    text += String.fromCharCode(...data.subarray(j, j + 4096));
  }
  return [height, width, btoa(text)];
})"""
_QUIET: Final = """() => {
  const ends = performance.getEntriesByType("resource").map((one) => one.responseEnd);
  const isWaiting = document.getElementById("progress").classList.contains("on");
  return !isWaiting && performance.now() - Math.max(...ends) > 200;
}"""
_REFUSED: Final = "Failed to load resource"  # how Chromium remarks on any 4xx and 5xx


def executable(own: str) -> str | None:
    """The system's Chromium, or else playwright's `own`; None where there is neither."""
    found = next(filter(None, map(shutil.which, _BROWSERS)), None)
    return found or (own if Path(own).exists() else None)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """For these tests alone: playwright keeps an event loop running in this thread."""
    with pytest.MonkeyPatch.context() as patch, contextlib.ExitStack() as stack:
        patch.setenv("PLAYWRIGHT_BROWSERS_PATH", "0")  # where scripts/install puts it
        playwright = stack.enter_context(sync_playwright())
        path = executable(playwright.chromium.executable_path)
        if path is None and not os.environ.get("REQUIRE_BROWSER"):
            pytest.skip("no Chromium here: apt install chromium, or playwright install chromium")
        running = playwright.chromium.launch(executable_path=path, args=list(_CAMERA))
        yield running
        running.close()


@pytest.fixture
def open_tab(browser: Browser) -> Iterator[OpenTab]:
    """Open an address in a browser of its own; the page must not complain, whatever happens.

    `refused=True` where the test has the server refuse something: the browser remarks on that.
    """
    contexts, complaints = [], []

    def heard(message: ConsoleMessage, refused: bool) -> None:
        if message.type in ("error", "warning") and not (refused and _REFUSED in message.text):
            complaints.append(f"{message.text} {message.location.get('url', '')}")

    def open_(url: str, *, refused: bool = False, **options: Any) -> Page:
        context = browser.new_context(**options)
        contexts.append(context)
        context.grant_permissions(["clipboard-read", "clipboard-write"])
        page = context.new_page()
        page.set_default_timeout(15_000)
        page.on("console", lambda message: heard(message, refused))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(url)
        return page

    yield open_
    for context in contexts:
        context.close()
    assert complaints == []


@pytest.fixture(scope="package")
def shown_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """fashion/1 that ships; oracle/1 (8 x 8 x 3, calibrated), grey/1 and grey/2 (not calibrated),
    told/1, which is conditional, blind/1, which can only encode, and line/1, of vectors."""
    folder = tmp_path_factory.mktemp("shown")
    shutil.copytree(BUNDLES / "fashion", folder / "fashion")
    make_oracle(folder, calibration={"l1": [i / 1000 for i in range(99)]})
    make_oracle(folder, name="told", channels=1, classes=["cat", "dog"])
    make_oracle(folder, name="grey", channels=1)
    make_oracle(folder, name="grey", version=2, channels=1)
    manifest = make_oracle(folder, name="blind") / "manifest.json"
    written = json.loads(manifest.read_text())
    written["graphs"] = {"encode": written["graphs"]["encode"]}
    manifest.write_text(json.dumps(written))
    make_line(folder)
    return folder


@pytest.fixture(scope="package")
def server(shown_models: Path) -> Iterator[Served]:
    """A server of all those, whose default is the model that ships."""
    with served(Settings(models=shown_models, default="fashion", threads=1)) as running:
        yield running


@pytest.fixture
def url(server: Served) -> str:
    """Where the page is."""
    return f"http://127.0.0.1:{server.port}/"


def drawn(canvases: Locator, channels: int = 1) -> Pixels:
    """What is on these canvases, [N, H, W, C], all of one size."""
    found = canvases.evaluate_all(_READ)
    height, width = found[0][:2]
    pixels = [np.frombuffer(base64.b64decode(data), np.uint8) for _, _, data in found]
    return np.stack(pixels).reshape(len(found), height, width, 4)[..., :channels]


def array(answer: httpx.Response) -> npt.NDArray[Any]:
    """The array that a server answered with."""
    assert answer.status_code == 200, answer.text
    found: npt.NDArray[Any] = np.load(BytesIO(answer.content))
    return found


def settled(page: Page) -> None:
    """Wait until nothing has been asked for some time."""
    page.evaluate("() => new Promise((go) => requestAnimationFrame(go))")
    page.wait_for_function(_QUIET)
