"""Everybody's page: axe finds nothing serious, the keyboard reaches all, a phone shows all."""

from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from page.conftest import OpenTab, settled

VIEWS = ("explore", "inspect", "morph", "latent", "status")
SHAPES: dict[str, dict[str, Any]] = {
    "light": {"color_scheme": "light", "viewport": {"width": 1280, "height": 860}},
    "dark": {"color_scheme": "dark", "viewport": {"width": 1280, "height": 860}},
    "phone": {
        "color_scheme": "light",
        "viewport": {"width": 360, "height": 780},
        "has_touch": True,
    },
}


def filled(page: Page, view: str) -> None:
    """The view with all it can have in it."""
    page.wait_for_selector("#view > *")
    if view == "inspect":
        page.get_by_role("button", name="Try examples").click()
        expect(page.get_by_text("6 of 6 pictures looked at")).to_be_visible()
    elif view == "latent":
        page.wait_for_selector(".dimension")
    elif view == "status":
        page.wait_for_selector("tbody tr")
    settled(page)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("view", VIEWS)
def test_axe_finds_nothing_serious(open_tab: OpenTab, url: str, view: str, shape: str) -> None:
    page = open_tab(f"{url}#{view}", **SHAPES[shape])
    filled(page, view)
    found = Axe().run(page).response["violations"]
    serious = [each for each in found if each["impact"] in ("serious", "critical")]
    assert [(each["id"], [node["html"] for node in each["nodes"]]) for each in serious] == []


@pytest.mark.parametrize("view", VIEWS)
def test_nothing_hangs_over_on_a_phone(open_tab: OpenTab, url: str, view: str) -> None:
    page = open_tab(f"{url}#{view}", **SHAPES["phone"])
    filled(page, view)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_the_keyboard_is_enough(open_tab: OpenTab, url: str) -> None:
    page = open_tab(url)
    page.wait_for_selector(".wall:not([aria-busy]) .tile")
    page.keyboard.press("Tab")
    expect(page.locator(":focus")).to_have_text("Skip to the content")
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    expect(page.locator(":focus")).to_have_attribute("type", "number")
    page.keyboard.press("Tab")
    expect(page.locator(":focus")).to_have_text("Another seed")
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowLeft")
    expect(page.get_by_label("Truncation")).to_have_value("0.75")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator(".tile").first).to_have_attribute("aria-pressed", "true")


def test_colours_follow_the_system_until_somebody_chooses(open_tab: OpenTab, url: str) -> None:
    page = open_tab(url, color_scheme="dark")
    ground = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(ground)
    page.emulate_media(color_scheme="light")
    light = page.evaluate(ground)
    assert light != dark
    page.get_by_role("button", name="Dark colours").click()
    assert page.evaluate(ground) == dark
    page.reload()
    assert page.evaluate(ground) == dark
    page.get_by_role("button", name="Light colours").click()
    assert page.evaluate(ground) == light
