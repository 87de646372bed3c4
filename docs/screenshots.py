"""Draw docs/images/page-*.png, the page as a Chromium shows it: `scripts/screenshots`."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).resolve().parents[1]
IMAGES = ROOT / "docs" / "images"
PICTURES = [str(IMAGES / f"{name}.png") for name in ("emoji", "bag", "boot", "dress", "shirt")]
SHAPES: dict[str, dict[str, Any]] = {
    "light": {"color_scheme": "light", "viewport": {"width": 1280, "height": 860}},
    "dark": {"color_scheme": "dark", "viewport": {"width": 1280, "height": 860}},
    "phone": {"color_scheme": "light", "viewport": {"width": 360, "height": 780}},
}
COLOURS = 255  # of a picture's palette: a third of the bytes, and nobody sees it
READY_S = 60
SETTLE_MS = 300
TRAFFIC_S = 25  # of a busy server, for its curves


def explore(page: Page) -> None:
    page.wait_for_selector(".near canvas")


def inspect(page: Page) -> None:
    page.locator("#view input[type=file]").set_input_files(PICTURES)
    page.wait_for_selector("tbody tr:nth-child(5) .chip.normal")
    page.locator("tbody tr").first.click()


def morph(page: Page) -> None:
    stops = page.locator(".waypoints li")
    stops.nth(2).wait_for()
    page.locator("#view input[type=file]").set_input_files(PICTURES[1:])
    for _ in range(3):
        stops.first.locator(".remove").click()
    page.wait_for_function("() => document.querySelectorAll('.waypoints li').length === 4")
    page.get_by_text("70 frames").wait_for()
    page.get_by_label("Along the way").fill("34")


def latent(page: Page) -> None:
    page.locator("#view input[type=file]").first.set_input_files(PICTURES[2])
    groups = page.locator(".group input")
    groups.nth(0).set_input_files(PICTURES[3:])
    groups.nth(1).set_input_files(PICTURES[1:3])
    page.get_by_text("A direction of length").wait_for()


def status(page: Page) -> None:
    end = time.monotonic() + TRAFFIC_S
    while time.monotonic() < end:
        for n in (1, 3, 6, 20, 48):
            page.request.get(f"v1/models/default/sample?n={n}")
        page.wait_for_timeout(100)


VIEWS = {each.__name__: each for each in (explore, inspect, morph, latent, status)}


@contextmanager
def server() -> Iterator[str]:
    """A server of the models that ship, and its address, until the block ends."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}/"
    command = [sys.executable, "-m", "biject", "serve", "--bare", "--port", str(port)]
    environ = {**os.environ, "BIJECT_DEFAULT": "fashion"}
    process = subprocess.Popen(command, cwd=ROOT, env=environ)
    try:
        end = time.monotonic() + READY_S
        while not is_ready(url):
            if time.monotonic() > end or process.poll() is not None:
                raise SystemExit("the server did not come up")
            time.sleep(0.2)
        yield url
    finally:
        process.terminate()
        process.wait()


def is_ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}readyz", timeout=5):
            return True
    except (urllib.error.URLError, OSError):
        return False


def keep(shot: bytes, path: Path) -> None:
    """The picture in few bytes."""
    picture = Image.open(BytesIO(shot)).convert("RGB")
    small = picture.quantize(COLOURS, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    small.save(path, optimize=True)
    print(f"{path.relative_to(ROOT)}: {path.stat().st_size:,} bytes", file=sys.stderr)


def main() -> None:
    """Every view in every shape."""
    os.environ.setdefault("PLAYWRIGHT_BROWSERS_PATH", "0")  # where scripts/install puts it
    with server() as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"))
        for shape, options in SHAPES.items():
            for name, fill in VIEWS.items():
                page = browser.new_page(base_url=url, **options)
                page.goto(f"{url}#{name}")
                page.wait_for_selector("#view section, #view .intake")
                fill(page)
                page.wait_for_timeout(SETTLE_MS)
                page.evaluate("document.activeElement.blur(), scrollTo(0, 0)")
                keep(page.screenshot(), IMAGES / f"page-{name}-{shape}.png")
                page.close()
        browser.close()


if __name__ == "__main__":
    main()
