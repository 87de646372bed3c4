"""Latent: what is drawn is what G makes of the numbers, many times a second, one at a time."""

import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
from playwright.sync_api import Page, Request, expect

from http_api.conftest import Served
from page.conftest import OpenTab, Pixels, array, drawn, settled
from serving import rendering

IMAGES = Path(__file__).parents[2] / "docs" / "images"
MODEL = "/v1/models/fashion/"
NPY = {"Accept": "application/x-npy"}
Codes = npt.NDArray[np.float32]


def opened(open_tab: OpenTab, url: str) -> Page:
    page = open_tab(f"{url}#latent")
    expect(page.locator(".dimension")).to_have_count(10)
    settled(page)
    return page


def encoded(server: Served, *names: str) -> Codes:
    files = [("images", (IMAGES / f"{name}.png").read_bytes()) for name in names]
    return array(server.client.post(f"{MODEL}encode", files=files, headers=NPY))


def decoded(server: Served, codes: Codes) -> Pixels:
    headers = {**NPY, "Content-Type": "application/x-npy"}
    return array(
        server.client.post(f"{MODEL}decode", content=rendering.npy(codes), headers=headers)
    )


def picture(page: Page) -> Pixels:
    found: Pixels = drawn(page.get_by_label("What G makes of the numbers"))[0]
    return found


def start_from(page: Page, name: str) -> None:
    page.locator("#view input[type=file]").first.set_input_files(IMAGES / f"{name}.png")
    settled(page)


def test_a_number_is_moved(open_tab: OpenTab, server: Served, url: str) -> None:
    page = opened(open_tab, url)
    start_from(page, "boot")
    codes = encoded(server, "boot")
    assert np.array_equal(picture(page), decoded(server, codes)[0])
    page.get_by_role("button", name="Show all numbers").click()
    expect(page.locator(".dimension")).to_have_count(64)
    page.get_by_label("Number 12", exact=True).fill("-2.5")
    settled(page)
    codes[0, 11] = -2.5
    moved = decoded(server, codes)[0]
    assert np.abs(picture(page).astype(int) - moved).max() <= 1
    page.get_by_role("button", name="Back to the start").click()
    settled(page)
    assert np.array_equal(picture(page), decoded(server, encoded(server, "boot"))[0])
    page.get_by_role("button", name="All zero").click()
    settled(page)
    assert np.array_equal(picture(page), decoded(server, np.zeros((1, 64), np.float32))[0])


def test_the_numbers_that_change_most_come_first(
    open_tab: OpenTab, server: Served, url: str
) -> None:
    page = opened(open_tab, url)
    start_from(page, "boot")
    code = encoded(server, "boot")[0]
    ends = np.stack([code] * 128)
    ends[range(0, 128, 2), range(64)] = -3
    ends[range(1, 128, 2), range(64)] = 3
    made = decoded(server, ends).astype(int)
    effect = np.abs(made[::2] - made[1::2]).sum(axis=(1, 2, 3))
    wanted = [f"Number {i + 1}" for i in np.argsort(-effect, kind="stable")[:10]]
    assert page.locator(".dimension label").all_inner_texts() == wanted


def test_a_direction_between_two_groups(open_tab: OpenTab, server: Served, url: str) -> None:
    page = opened(open_tab, url)
    start_from(page, "boot")
    expect(page.get_by_label("From B to A")).to_be_disabled()
    for name, files in (("A", ("shirt", "dress")), ("B", ("boot", "bag"))):
        group = page.get_by_role("region", name=f"Group {name}", exact=True)
        group.locator("input").set_input_files([IMAGES / f"{file}.png" for file in files])
    expect(page.get_by_label("From B to A")).to_be_enabled()
    page.get_by_label("From B to A").fill("0.75")
    settled(page)
    codes = encoded(server, "shirt", "dress", "boot", "bag")
    moved = codes[2:3] + 0.75 * (codes[:2].mean(axis=0) - codes[2:].mean(axis=0))
    expected = decoded(server, moved.astype(np.float32))[0]
    assert np.abs(picture(page).astype(int) - expected).max() <= 1
    assert not np.array_equal(expected, decoded(server, codes[2:3])[0])


def test_it_is_live_and_asks_for_one_at_a_time(open_tab: OpenTab, url: str) -> None:
    page = opened(open_tab, url)
    open_now: set[Request] = set()
    most = 0

    def began(request: Request) -> None:
        nonlocal most
        open_now.add(request)
        most = max(most, len(open_now))

    page.on("request", began)
    page.on("requestfinished", lambda request: open_now.discard(request))
    count = "c => Number(c.dataset.drawn)"
    canvas = page.get_by_label("What G makes of the numbers")
    before = canvas.evaluate(count)
    began_at = time.monotonic()
    page.locator(".dimension input").first.evaluate(
        """input => new Promise((done) => {
          const began = performance.now();
          const move = (now) => {
            input.value = String(2.5 * Math.sin((now - began) / 200));
            input.dispatchEvent(new Event("input", { bubbles: true }));
            if (now - began < 2000) requestAnimationFrame(move); else done();
          };
          requestAnimationFrame(move);
        })"""
    )
    rate = (canvas.evaluate(count) - before) / (time.monotonic() - began_at)
    print(f"{rate:.1f} pictures a second")
    assert rate > 2  # how fast it is depends on the machine; that it follows at all does not
    assert most == 1
    settled(page)
    assert page.locator(".dimension output").first.inner_text() != ""
