"""Morph: the frames are the server's, are asked for once, and go through the stops in order."""

import io
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from http_api.conftest import Served
from page.conftest import OpenTab, Pixels, array, drawn, settled

IMAGES = Path(__file__).parents[2] / "docs" / "images"


def opened(open_tab: OpenTab, url: str, names: Sequence[str]) -> Page:
    """The view with these stops alone."""
    page = open_tab(f"{url}#morph")
    stops = page.get_by_role("list", name="Waypoints").get_by_role("listitem")
    expect(stops).to_have_count(3)  # samples, so that there is something to see
    for _ in range(3):
        stops.first.locator(".remove").click()
    page.locator("#view input[type=file]").set_input_files(
        [IMAGES / f"{name}.png" for name in names]
    )
    expect(stops).to_have_count(len(names))
    settled(page)
    return page


def frames(server: Served, names: Sequence[str], **query: object) -> Pixels:
    files = [("images", (IMAGES / f"{name}.png").read_bytes()) for name in names]
    given = {"frames": "24", "path": "slerp", "exact": "true"}
    given |= {key: str(value) for key, value in query.items()}
    path = "/v1/models/fashion/interpolate"
    headers = {"Accept": "application/x-npy"}
    return array(server.client.post(path, params=given, files=files, headers=headers))


def shown(page: Page, i: int) -> Pixels:
    page.get_by_label("Along the way").fill(str(i))
    frame: Pixels = drawn(page.get_by_label("The morph", exact=True))[0]
    return frame


def test_frames_are_scrubbed_without_asking(open_tab: OpenTab, server: Served, url: str) -> None:
    page = opened(open_tab, url, ("bag", "boot", "shirt"))
    wanted = frames(server, ("bag", "boot", "shirt"))
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    expect(page.get_by_label("Along the way")).to_have_attribute("max", "46")
    for i in (0, 1, 23, 40, 46):
        assert np.array_equal(shown(page, i), wanted[i])
    page.get_by_role("button", name="Play").click()
    seen = set()
    for _ in range(20):
        seen.add(page.get_by_label("Along the way").input_value())
        page.wait_for_timeout(30)
    page.get_by_role("button", name="Pause").click()
    assert len(seen) > 4
    assert asked == []


def test_the_ends_are_exact_only_where_that_is_wanted(
    open_tab: OpenTab, server: Served, url: str
) -> None:
    page = opened(open_tab, url, ("bag", "boot"))
    bag = np.pad(np.asarray(Image.open(IMAGES / "bag.png").convert("L")), 2)
    assert np.array_equal(shown(page, 0)[..., 0], bag)
    page.get_by_label("Exact ends").uncheck()
    settled(page)
    made = shown(page, 0)
    assert np.array_equal(made, frames(server, ("bag", "boot"), exact="false")[0])
    assert not np.array_equal(made[..., 0], bag)


def test_settings_change_the_way(open_tab: OpenTab, server: Served, url: str) -> None:
    page = opened(open_tab, url, ("bag", "boot"))
    page.get_by_label("lerp", exact=True).check()
    page.get_by_label("Frames per leg").fill("9")
    settled(page)
    wanted = frames(server, ("bag", "boot"), path="lerp", frames=9)
    assert np.array_equal(shown(page, 4), wanted[4])
    assert not np.array_equal(wanted, frames(server, ("bag", "boot"), frames=9))


def order(page: Page) -> list[str]:
    names = page.locator(".waypoints .grip").evaluate_all(
        "grips => grips.map((grip) => grip.getAttribute('aria-label').split('.')[0])"
    )
    return list(names)


def test_stops_are_put_in_order_by_keyboard(open_tab: OpenTab, server: Served, url: str) -> None:
    page = opened(open_tab, url, ("bag", "boot", "shirt"))
    page.locator(".waypoints .grip").first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert order(page) == ["boot", "shirt", "bag"]
    assert "now 3 of 3" in page.locator("#announcer").inner_text()
    settled(page)
    assert np.array_equal(shown(page, 23), frames(server, ("boot", "shirt", "bag"))[23])
    page.keyboard.press("Tab")  # the focus went along
    page.locator(".waypoints .grip").last.focus()
    page.keyboard.press("Delete")
    assert order(page) == ["boot", "shirt"]
    page.get_by_role("button", name="Move shirt.png earlier").click()
    assert order(page) == ["shirt", "boot"]


def drag(page: Page, from_: int, to: int, *, past: bool) -> None:
    """Drag a stop over another, and past its middle or not."""
    grips = page.locator(".waypoints .grip")
    first, last = grips.nth(from_).bounding_box(), grips.nth(to).bounding_box()
    assert first is not None
    assert last is not None
    page.mouse.move(first["x"] + 20, first["y"] + 20)
    page.mouse.down()
    page.mouse.move(last["x"] + last["width"] * (0.9 if past else 0.1), last["y"] + 20, steps=12)
    page.mouse.up()


def test_stops_are_put_in_order_by_dragging(open_tab: OpenTab, server: Served, url: str) -> None:
    page = opened(open_tab, url, ("bag", "boot", "shirt"))
    drag(page, 0, 1, past=True)
    assert order(page) == ["boot", "bag", "shirt"]
    drag(page, 2, 0, past=False)
    assert order(page) == ["shirt", "boot", "bag"]
    settled(page)
    assert np.array_equal(shown(page, 5), frames(server, ("shirt", "boot", "bag"))[5])


@pytest.mark.parametrize(("kind", "count"), [("WebP", 47), ("GIF", 47), ("Zip", 47)])
def test_the_morph_is_kept(
    open_tab: OpenTab, server: Served, url: str, kind: str, count: int
) -> None:
    page = opened(open_tab, url, ("bag", "boot", "shirt"))
    with page.expect_download() as kept:
        page.get_by_role("button", name=f"Save {kind}").click()
    content = kept.value.path().read_bytes()
    wanted = frames(server, ("bag", "boot", "shirt"))
    if kind == "Zip":
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            found = [Image.open(io.BytesIO(archive.read(name))) for name in archive.namelist()]
        assert len(found) == count
        assert np.array_equal(np.asarray(found[7]), wanted[7, ..., 0])
        return
    with Image.open(io.BytesIO(content)) as picture:
        assert (picture.format, picture.size) == (kind.upper(), (32, 32))
        assert 2 < getattr(picture, "n_frames", 1) <= count
        assert np.array_equal(np.asarray(picture.convert("L")), wanted[0, ..., 0])


def test_one_stop_is_no_way(open_tab: OpenTab, url: str) -> None:
    page = opened(open_tab, url, ("bag",))
    expect(page.get_by_text("Two pictures make a way")).to_be_visible()
    expect(page.get_by_role("button", name="Save GIF")).to_be_disabled()
