"""Explore: the wall is what the server draws, to the pixel, and so is what the commands fetch."""

import subprocess
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from PIL import Image
from playwright.sync_api import Page, expect

from http_api.conftest import Served
from page.conftest import OpenTab, Pixels, array, drawn, settled
from serving import rendering

N = 42
NPY = {"Accept": "application/x-npy"}


def wall(page: Page) -> Pixels:
    page.wait_for_selector(".wall:not([aria-busy]) .tile")
    return drawn(page.get_by_role("group", name="Samples").locator("canvas"))


def sampled(client: httpx.Client, seed: int, truncation: float) -> Pixels:
    query = {"n": N, "seed": seed, "truncation": truncation}
    return array(client.get("/v1/models/fashion/sample", params=query, headers=NPY))


def test_the_wall_is_what_the_seed_says(open_tab: OpenTab, server: Served, url: str) -> None:
    page = open_tab(url)
    assert np.array_equal(wall(page), sampled(server.client, 7, 0.8))
    page.get_by_label("Seed", exact=True).fill("11")
    page.get_by_label("Truncation").fill("0.5")
    settled(page)
    expect(page.locator(".wall .tile").first).to_have_attribute("aria-label", "Sample 1 of seed 11")
    assert np.array_equal(wall(page), sampled(server.client, 11, 0.5))
    # the address leads others to the same wall
    again = open_tab(page.url)
    assert np.array_equal(wall(again), sampled(server.client, 11, 0.5))
    page.get_by_role("button", name="Another seed").click()
    settled(page)
    assert page.get_by_label("Seed", exact=True).input_value() != "11"
    assert not np.array_equal(wall(page), sampled(server.client, 11, 0.5))


def test_a_sample_is_looked_at_and_varied(open_tab: OpenTab, server: Served, url: str) -> None:
    page = open_tab(url)
    chosen = wall(page)[5]
    page.get_by_role("button", name="Sample 6 of seed 7").click()
    settled(page)
    assert np.array_equal(drawn(page.get_by_label("The picture", exact=True))[0], chosen)
    expect(page.locator(".panel .strip rect")).to_have_count(64)
    query = {"n": 12, "strength": 0.5, "seed": 7}
    path = "/v1/models/fashion/vary"
    near = page.get_by_role("group", name="Variations").locator("canvas")
    expect(near).to_have_count(12)
    varied = drawn(near)
    headers = {**NPY, "Content-Type": "application/x-npy"}
    sent: dict[str, Any] = {"content": rendering.npy(chosen[None]), "headers": headers}
    assert np.array_equal(varied, array(server.client.post(path, params=query, **sent)))
    page.get_by_role("button", name="Variation 3: look closer").click()
    settled(page)
    assert np.array_equal(drawn(page.get_by_label("The picture", exact=True))[0], varied[2])


def test_the_commands_fetch_what_is_shown(open_tab: OpenTab, url: str, tmp_path: Path) -> None:
    page = open_tab(url)
    shown = wall(page)
    settled(page)
    near = page.get_by_role("group", name="Variations").locator("canvas")
    varied = drawn(near)
    expected = {"the wall": (shown, "samples.png"), "the variations": (varied, "variations.png")}
    for name, (pictures, file) in expected.items():
        page.get_by_role("button", name=f"Copy the command: {name}").click()
        command = page.evaluate("navigator.clipboard.readText()")
        subprocess.run(["bash", "-c", command], cwd=tmp_path, check=True, timeout=30)
        found = np.asarray(Image.open(tmp_path / file))
        assert np.array_equal(found, rendering.grid(pictures)[..., 0])


def test_a_picture_goes_on_to_the_other_views(open_tab: OpenTab, url: str) -> None:
    page = open_tab(url)
    wall(page)
    page.get_by_role("button", name="Look inside").click()
    expect(page.locator("nav [aria-current]")).to_have_text("Look inside")
    expect(page.locator(".decision .chip")).to_have_text("normal")
    page.go_back()
    page.get_by_role("button", name="Morph").click()
    expect(page.get_by_role("list", name="Waypoints").get_by_role("listitem")).to_have_count(3)


def test_a_conditional_model_draws_the_class_that_is_chosen(
    open_tab: OpenTab, server: Served, url: str
) -> None:
    def sampled(**label: str) -> Pixels:
        query: dict[str, Any] = {"n": N, "seed": 7, "truncation": 0.8, **label}
        return array(server.client.get("/v1/models/told/sample", params=query, headers=NPY))

    page = open_tab(f"{url}#explore?model=told")
    assert np.array_equal(wall(page), sampled())
    page.get_by_label("Class", exact=True).select_option("dog")
    settled(page)
    dogs = wall(page)
    assert np.array_equal(dogs, sampled(label="dog"))
    assert not np.array_equal(dogs, sampled())
    # what is looked at closely is told the same, and so are those who get the address
    varied = drawn(page.get_by_role("group", name="Variations").locator("canvas"))
    asked: dict[str, Any] = {"n": 12, "strength": 0.5, "seed": 7, "label": "dog"}
    headers = {**NPY, "Content-Type": "application/x-npy"}
    sent: dict[str, Any] = {"content": rendering.npy(dogs[1:2]), "headers": headers}
    answer = server.client.post("/v1/models/told/vary", params=asked, **sent)
    assert np.array_equal(varied, array(answer))
    assert np.array_equal(wall(open_tab(page.url)), dogs)


def test_other_models_have_no_class_to_choose(open_tab: OpenTab, url: str) -> None:
    page = open_tab(url)
    wall(page)
    expect(page.get_by_label("Class", exact=True)).to_have_count(0)
