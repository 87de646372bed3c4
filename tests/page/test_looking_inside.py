"""Look inside: answers of the server, shown, judged again without it, and kept."""

import base64
import csv
import io
import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from http_api.conftest import Served
from page.conftest import OpenTab, drawn
from serving import scoring

IMAGES = Path(__file__).parents[2] / "docs" / "images"
CLOTHES = ("bag", "boot", "dress", "shirt", "trouser")


def choose(page: Page, *files: Path) -> None:
    page.locator("#view input[type=file]").first.set_input_files(list(files))


def looked_at(page: Page, number: int, of: int) -> None:
    expect(page.get_by_text(f"{number} of {of} pictures looked at")).to_be_visible()


def score(server: Served, name: str, **query: Any) -> dict[str, Any]:
    sent = (IMAGES / f"{name}.png").read_bytes()
    path = "/v1/models/fashion/score"
    answer = server.client.post(
        path, params=query, content=sent, headers={"Content-Type": "image/png"}
    )
    return dict(answer.json()["results"][0])


def test_a_picture_is_taken_apart(open_tab: OpenTab, server: Served, url: str) -> None:
    page = open_tab(f"{url}#inspect")
    choose(page, IMAGES / "emoji.png")
    expect(page.locator(".decision .chip")).to_have_text("anomalous")
    found = score(server, "emoji", heatmap="map")
    assert (
        f"p = {found['p_value']:.2e}".replace("e-0", "e-") in page.locator(".decision").inner_text()
    )
    # no normal image scores as high: how rare that is, nobody can say more closely
    expect(page.locator(".decision")).to_contain_text(": at most 1 in 6,001 normal images")
    figures = page.locator(".figures dd").all_inner_texts()
    wanted = [float(f"{value:.3g}") for value in found["terms"].values()]
    assert [float(text) for text in figures] == pytest.approx(wanted)
    expect(page.locator(".panel .strip rect")).to_have_count(64)
    answer = server.client.post(
        "/v1/models/fashion/reconstruct",
        content=(IMAGES / "emoji.png").read_bytes(),
        headers={"Accept": "image/png", "Content-Type": "image/png"},
    )
    made = np.asarray(Image.open(io.BytesIO(answer.content)))
    assert np.array_equal(drawn(page.get_by_label("Reconstruction", exact=True))[0, ..., 0], made)
    heat = np.asarray(Image.open(io.BytesIO(base64.b64decode(found["heatmap"].split(",")[1]))))
    shown = drawn(page.get_by_label("Heat map of the error"), channels=4)[0]
    hottest, coolest = heat == heat.max(), heat == heat.min()
    assert (shown[hottest][:, 3] == 255).all()
    assert (shown[hottest][:, :3] == (252, 255, 164)).all()
    assert (shown[coolest][:, 3] < 30).all()


def test_an_original_stands_where_the_model_sees_it(open_tab: OpenTab, url: str) -> None:
    """28 x 28 pixels lie unscaled within the 32 x 32 of the model, 16 to each of its own."""
    page = open_tab(f"{url}#inspect")
    choose(page, IMAGES / "boot.png")
    expect(page.locator(".decision .chip")).to_have_text("normal")
    expect(page.locator(".decision")).not_to_contain_text("at most")
    shown = drawn(page.get_by_label("Original", exact=True))[0, ..., 0]
    boot = np.pad(np.asarray(Image.open(IMAGES / "boot.png").convert("L")), 2)
    assert np.array_equal(shown, boot.repeat(16, axis=0).repeat(16, axis=1))


def test_the_line_moves_by_slider_and_by_pointer(open_tab: OpenTab, url: str) -> None:
    page = open_tab(f"{url}#inspect")
    choose(page, IMAGES / "boot.png")
    stage = page.locator(".stage")
    page.get_by_label("Original, left of the line").fill("100")
    assert stage.evaluate("s => s.style.getPropertyValue('--wipe')") == "100%"
    box = stage.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 4, box["y"] + 30, steps=3)
    page.mouse.up()
    assert page.get_by_label("Original, left of the line").input_value() == "25"
    page.get_by_label("Heat of the error").fill("0")
    assert (
        page.get_by_label("Heat map of the error").evaluate("c => getComputedStyle(c).opacity")
        == "0"
    )


def test_the_rate_decides_again_without_a_request(
    open_tab: OpenTab, server: Served, url: str
) -> None:
    page = open_tab(f"{url}#inspect")
    choose(page, *(IMAGES / f"{name}.png" for name in (*CLOTHES, "emoji")))
    looked_at(page, 6, 6)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    p_values = [score(server, name)["p_value"] for name in (*CLOTHES, "emoji")]
    for rate in (0.5, 0.2, 0.01):
        page.get_by_label("False-alarm rate").fill(str(np.log10(rate)))
        flagged = sum(p <= rate for p in p_values)
        expect(page.get_by_text(f"6 of 6 pictures looked at, {flagged} flagged")).to_be_visible()
        said = page.locator("table .chip").all_inner_texts()
        assert [word == "anomalous" for word in said] == [p <= rate for p in p_values]
    chart = page.locator(".histogram").get_attribute("aria-label") or ""
    limit = float(chart.rpartition(" ")[2])
    answer = server.client.post(
        "/v1/models/fashion/score?fpr=0.01", content=(IMAGES / "boot.png").read_bytes()
    ).json()
    assert limit == pytest.approx(answer["threshold"], rel=0.05)
    assert asked == []


def test_the_threshold_is_the_servers_where_all_scores_are_known(
    open_tab: OpenTab, url: str
) -> None:
    page = open_tab(url)
    calibration = np.sort(np.random.default_rng(1).random(99))
    for rate in (0.005, 0.01, 0.05, 0.07, 0.29, 0.5, 0.9):
        found = page.evaluate(
            """async ([scores, rate]) => {
              const { threshold } = await import("/page/histogram.js");
              return threshold(scores, scores.length, rate);
            }""",
            [calibration.tolist(), rate],
        )
        assert found == scoring.threshold(calibration, rate)


def test_another_term_is_another_score(open_tab: OpenTab, server: Served, url: str) -> None:
    page = open_tab(f"{url}#inspect")
    choose(page, IMAGES / "boot.png", IMAGES / "emoji.png")
    looked_at(page, 2, 2)
    page.get_by_label("Score by").select_option("cycle")
    for name, row in (("boot", 0), ("emoji", 1)):
        found = score(server, name, by="cycle")
        cells = page.locator("tbody tr").nth(row).locator("td")
        expect(cells.nth(2)).to_have_text(f"{found['score']:.3g}")
        assert float(cells.nth(3).inner_text()) == pytest.approx(found["p_value"], rel=1e-2)


def test_many_pictures_are_a_table_that_sorts_and_is_kept(
    open_tab: OpenTab, server: Served, url: str, tmp_path: Path
) -> None:
    page = open_tab(f"{url}#inspect", refused=True)
    (tmp_path / "=no,image.png").write_bytes(b"no image")
    files = [IMAGES / f"{name}.png" for name in (*CLOTHES, "emoji")]
    choose(page, *files[:-1], tmp_path / "=no,image.png", files[-1])
    looked_at(page, 6, 7)
    assert "1 could not be read" in page.locator("main").inner_text()
    pictures = page.locator("tbody .photo")
    expect(pictures).to_have_count(7)
    assert pictures.evaluate_all("all => all.every(one => one.naturalWidth > 0)")  # none is broken
    page.get_by_role("button", name="Score", exact=True).click()
    shown = page.locator("tbody tr td:nth-child(3)").all_inner_texts()
    values = [float(text) for text in shown[:-1]]
    assert values == sorted(values, reverse=True)
    assert shown[-1] == "\u2013"  # a dash: what nobody knows comes last
    expect(page.locator("th").nth(2)).to_have_attribute("aria-sort", "descending")
    page.get_by_role("button", name="Score", exact=True).click()
    shown = page.locator("tbody tr td:nth-child(3)").all_inner_texts()
    assert [float(text) for text in shown[:-1]] == values[::-1]
    page.get_by_role("button", name="=no,image.png").click()
    expect(page.locator(".decision")).to_contain_text("no image")
    with page.expect_download() as kept:
        page.get_by_role("button", name="Download CSV").click()
    rows = list(csv.DictReader(kept.value.path().read_text().splitlines()))
    assert [row["Picture"] for row in rows] == [
        *(f"{name}.png" for name in CLOTHES), "'=no,image.png", "emoji.png"
    ]  # fmt: skip
    found = score(server, "dress")
    assert float(rows[2]["Score"]) == pytest.approx(found["score"], rel=1e-5)
    assert float(rows[2]["p-value"]) == found["p_value"]
    assert {term: float(rows[2][term]) for term in found["terms"]} == pytest.approx(found["terms"])
    assert rows[5]["Score"] == ""
    page.get_by_role("button", name="Start over").click()
    expect(page.locator("table")).to_be_hidden()


@pytest.mark.parametrize("way", ["drop", "drop beside", "paste"])
def test_pictures_are_dropped_and_pasted(open_tab: OpenTab, url: str, way: str) -> None:
    page = open_tab(f"{url}#inspect")
    page.wait_for_selector(".intake")
    boot = base64.b64encode((IMAGES / "boot.png").read_bytes()).decode()
    page.evaluate(
        """([boot, way]) => {
          const bytes = Uint8Array.from(atob(boot), (c) => c.charCodeAt(0));
          const files = new DataTransfer();
          files.items.add(new File([bytes], "boot.png", { type: "image/png" }));
          const event = way !== "paste"
            ? new DragEvent("drop", { dataTransfer: files, bubbles: true, cancelable: true })
            : new ClipboardEvent("paste", { clipboardData: files, bubbles: true });
          const target = way === "drop" ? document.querySelector(".intake") : document.body;
          target.dispatchEvent(event);
        }""",
        [boot, way],
    )
    expect(page.locator(".decision .chip")).to_have_text("normal")


def test_a_picture_is_taken_with_the_camera(open_tab: OpenTab, url: str) -> None:
    page = open_tab(f"{url}#inspect", permissions=["camera"])
    page.get_by_role("button", name="Camera").click()
    page.get_by_role("button", name="Take the picture").click()
    expect(page.locator("#view h3").first).to_have_text("camera.png")
    expect(page.locator(".decision .chip")).to_have_text("anomalous")


def test_a_model_that_was_not_calibrated_ranks_only(open_tab: OpenTab, url: str) -> None:
    page = open_tab(f"{url}#inspect?model=grey")
    page.wait_for_selector(".intake")
    choose(page, IMAGES / "boot.png")
    expect(page.locator(".decision")).to_contain_text("not calibrated")
    expect(page.locator(".decision .chip")).to_have_text("not judged")
    expect(page.get_by_label("False-alarm rate")).to_have_count(0)


def test_the_command_judges_as_the_page_does(open_tab: OpenTab, url: str) -> None:
    page = open_tab(f"{url}#inspect")
    choose(page, IMAGES / "emoji.png")
    expect(page.locator(".decision .chip")).to_have_text("anomalous")
    page.get_by_role("button", name="Copy the command").click()
    command = page.evaluate("navigator.clipboard.readText()")
    ran = subprocess.run(["bash", "-c", command], cwd=IMAGES, check=True, capture_output=True)
    assert json.loads(ran.stdout)["results"][0]["anomalous"] is True
