"""Any size, colours, several models and versions, models that lack graphs or take no pictures."""

import numpy as np
from playwright.sync_api import expect

from http_api.conftest import Served
from page.conftest import OpenTab, array, drawn, settled


def test_a_model_in_colour_is_shown_in_colour(open_tab: OpenTab, server: Served, url: str) -> None:
    page = open_tab(f"{url}#explore?model=oracle&seed=3&truncation=1")
    page.wait_for_selector(".wall:not([aria-busy]) .tile")
    query = {"n": 42, "seed": 3, "truncation": 1}
    headers = {"Accept": "application/x-npy"}
    wanted = array(server.client.get("/v1/models/oracle/sample", params=query, headers=headers))
    tiles = page.get_by_role("group", name="Samples").locator("canvas")
    assert np.array_equal(drawn(tiles, channels=3), wanted)
    settled(page)  # variations want the picture sent in colour
    expect(page.get_by_role("group", name="Variations").locator("canvas")).to_have_count(12)
    page.get_by_role("button", name="Look inside").click()
    expect(page.locator(".decision .chip")).not_to_have_text("…")
    made = drawn(page.get_by_label("Reconstruction", exact=True), channels=3)
    assert made.shape == (1, 8, 8, 3)


def test_models_and_versions_are_picked(open_tab: OpenTab, url: str) -> None:
    page = open_tab(url)
    page.wait_for_selector(".wall:not([aria-busy]) .tile")
    picker = page.get_by_label("Model", exact=True)
    expect(picker).to_have_value("fashion")
    names = picker.locator("option").all_inner_texts()
    assert names == ["blind", "fashion", "grey", "grey, version 1", "line", "oracle", "told"]
    with page.expect_request("**/v1/models/grey@1/sample*"):
        picker.select_option("grey@1")
    expect(page.locator("#facts")).to_contain_text("16 latent numbers")
    assert "model=grey%401" in page.url or "model=grey@1" in page.url


def test_vectors_have_no_pictures(open_tab: OpenTab, url: str) -> None:
    page = open_tab(f"{url}#explore?model=line")
    for name in ("Explore", "Look inside", "Morph", "Latent"):
        page.get_by_role("link", name=name).click()
        expect(page.get_by_text("line takes vectors of 2 numbers")).to_be_visible()
    page.get_by_role("link", name="Status").click()
    expect(page.locator("table tbody tr").first).to_be_visible()


def test_what_a_model_cannot_do_is_said(open_tab: OpenTab, url: str) -> None:
    page = open_tab(f"{url}#explore?model=blind")
    for name, lacks in (
        ("Explore", "decode"),
        ("Look inside", "reconstruct or score"),
        ("Morph", "decode"),
        ("Latent", "decode"),
    ):
        page.get_by_role("link", name=name).click()
        expect(page.get_by_text(f"came without the graph {lacks}")).to_be_visible()
