"""Look inside: pictures larger than the model, cut into tiles."""

import base64
import io
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

from http_api.conftest import Served, served
from oracle import make_oracle
from page.conftest import OpenTab, drawn
from serving.settings import Settings

TILES = {"tile": 8, "stride": 6}
FULL = 0.05  # heat of one normal pixel in a thousand


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A model of 8 x 8 pixels that was calibrated on frames cut into tiles."""
    folder = tmp_path_factory.mktemp("framed")
    made = make_oracle(folder, calibration={"l1": [i / 1000 for i in range(99)]})
    manifest = json.loads((made / "manifest.json").read_text())
    heat = {"images": 9, "quantiles": {"0.999": FULL}}
    manifest["score"]["calibration"] |= {"tiles": TILES, "heat": heat}
    (made / "manifest.json").write_text(json.dumps(manifest))
    with served(Settings(models=folder, threads=1)) as running:
        yield running


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 wide and 30 high, smooth but for a noisy corner at 20, 12."""
    pixels = np.full((30, 40, 3), 120, np.uint8)
    pixels[12:20, 20:28] = np.random.default_rng(0).integers(0, 256, (8, 8, 3))
    file = tmp_path_factory.mktemp("pictures") / "frame.png"
    Image.fromarray(pixels).save(file)
    return file


def test_a_frame_is_shown_whole_with_its_worst_tile(
    open_tab: OpenTab, server: Served, picture: Path
) -> None:
    answer = server.client.post(
        "/v1/models/oracle/score?tile=8&heatmap=map",
        content=picture.read_bytes(),
        headers={"Content-Type": "image/png"},
    ).json()
    (found,) = answer["results"]
    page = open_tab(f"http://127.0.0.1:{server.port}/#inspect")
    page.locator("#view input[type=file]").first.set_input_files(picture)
    expect(page.locator(".decision .chip")).to_have_text("anomalous")
    expect(page.locator(".decision")).to_contain_text(f"the worst of {found['tiles']} tiles")
    original = page.get_by_label("Original", exact=True)
    assert np.array_equal(drawn(original, channels=3)[0], np.asarray(Image.open(picture)))
    box, worst = (page.locator(where).bounding_box() for where in (".stage", ".stage .worst"))
    assert box is not None
    assert worst is not None
    scale = box["width"] / 40
    assert box["height"] == pytest.approx(30 * scale, abs=1)
    wanted = [found["worst"][side] * scale for side in ("x", "y", "width", "height")]
    inside = [worst["x"] - box["x"], worst["y"] - box["y"], worst["width"], worst["height"]]
    assert inside == pytest.approx(wanted, abs=1)
    heat = np.asarray(Image.open(io.BytesIO(base64.b64decode(found["heatmap"].split(",")[1]))))
    shown = drawn(page.get_by_label("Heat map of the error"), channels=4)[0]
    assert (shown[heat == 255][:, :3] == (252, 255, 164)).all()
    assert (shown[heat == 0][:, 3] == 0).all()
    expect(page.get_by_label("Reconstruction", exact=True)).to_be_hidden()
    command = page.locator(".command code").filter(has_text="score").first
    expect(command).to_contain_text("tile=8")


def test_uncut_it_is_shrunk_and_cannot_be_judged(
    open_tab: OpenTab, server: Served, picture: Path
) -> None:
    page = open_tab(f"http://127.0.0.1:{server.port}/#inspect")
    page.locator("#view input[type=file]").first.set_input_files(picture)
    expect(page.locator(".decision .chip")).to_have_text("anomalous")
    page.get_by_label("Cut each picture into tiles of 8 pixels").uncheck()
    expect(page.locator(".decision .chip")).to_have_text("not judged")
    expect(page.locator(".decision")).to_contain_text("calibrated on frames cut with tile=8")
    expect(page.locator(".stage .worst")).to_be_hidden()
    expect(page.locator(".histogram")).to_have_count(0)
    expect(page.get_by_label("Reconstruction", exact=True)).to_be_visible()
    page.get_by_label("Cut each picture into tiles of 8 pixels").check()
    expect(page.locator(".decision .chip")).to_have_text("anomalous")
    expect(page.locator(".stage .worst")).to_be_visible()
