"""report.html: one file, whole, and with pictures that are what they claim to be."""

import base64
import re
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from bars import write_data
from export import page, report
from export.evaluate import Asked, evaluate
from export.illustrations import tiled
from export.report import Report
from export.sections import sections
from export.subjects import open_subject
from oracle import make_oracle


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def measured(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Report:
    size: dict[str, Any] = {"height": 16, "width": 16, "channels": 1, "block": 4}
    subject = open_subject(make_oracle(tmp_path_factory.mktemp("oracle"), **size))
    asked = Asked(data=str(folder / "parts.npz"), against=str(folder / "noise.npz"), normal=("1",))
    return evaluate(subject, asked)


@pytest.fixture(scope="module")
def html(measured: Report) -> str:
    return page.render(measured.figures, measured.drawn)


class Tags(HTMLParser):
    """Tags in order, and that each is closed where it must be."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_it_needs_no_other_file_and_no_script(html: str) -> None:
    tags = Tags()
    tags.feed(html)
    assert tags.open == []
    names = {name for name, _ in tags.seen}
    assert names.isdisjoint({"script", "link", "iframe", "object"})
    loaded = [
        str(value)
        for _, attributes in tags.seen
        for key, value in attributes.items()
        if key in ("src", "href", "xlink:href", "srcset")
    ]
    assert loaded
    assert all(value.startswith(("data:", "#")) for value in loaded)
    assert "@import" not in html
    assert set(re.findall(r"url\((.)", html)) <= {"#"}
    assert "prefers-color-scheme: dark" in html


def test_every_figure_of_the_table_is_there(html: str, measured: Report) -> None:
    plain = html.replace("&#x27;", "'").replace("&lt;", "<").replace("&gt;", ">")
    for section in sections(measured.figures):
        assert section.title in plain
        for row in section.rows:
            assert "".join(f"<td>{cell}</td>" for cell in row) in plain
    assert f"seed {measured.figures['seed']}" in plain


def pictures(html: str) -> dict[str, np.ndarray]:
    found = re.findall(
        r'src="data:image/png;base64,([^"]+)" width="(\d+)" height="(\d+)" alt="([^:]+):', html
    )
    arrays = {}
    for data, width, height, name in found:
        with Image.open(BytesIO(base64.b64decode(data))) as image:
            assert image.size == (int(width), int(height))  # shown pixel for pixel: no blur
            arrays[name] = np.asarray(image.convert("RGB"))
    return arrays


def test_pictures_are_enlarged_pixel_by_pixel(html: str, measured: Report) -> None:
    found = pictures(html)
    assert list(found) == ["Samples", "Reconstructions", "Nearest training images", "Morphs"]
    first = found["Samples"][:64, :64, 0]
    assert np.array_equal(first, measured.drawn.wall[0, ..., 0].repeat(4, 0).repeat(4, 1))
    second = found["Samples"][:64, 66:130, 0]
    assert np.array_equal(second[::4, ::4], measured.drawn.wall[1, ..., 0])
    triple = found["Reconstructions"]
    assert np.array_equal(triple[:64:4, :64:4, 0], measured.drawn.pairs[0, ..., 0])
    assert np.array_equal(triple[:64:4, 66:130:4, 0], measured.drawn.pairs[1, ..., 0])


def test_heat_has_one_scale_for_all_images() -> None:
    grey = np.full((2, 4, 4, 3), 100, np.uint8)
    heat = np.zeros((2, 4, 4))
    heat[0, 0, 0], heat[1, 0, 0] = 1.0, 0.1
    glow = page._glowing(grey, heat)
    assert (glow[:, 1:] == 60).all()  # no heat, no colour
    assert glow[0, 0, 0].sum() > 2 * glow[1, 0, 0].sum()  # a small fault does not shine


def test_the_nearest_training_images_are(measured: Report, folder: Path) -> None:
    near = measured.drawn.neighbours
    assert near.shape == (8, 7, 16, 16, 1)
    assert measured.drawn.neighbours_in == "classifier features"
    assert np.array_equal(near[:, 0], measured.drawn.wall[:8])
    with np.load(folder / "parts.npz") as data:
        known = {image.tobytes() for image in data["train_images"]}
    assert all(image.tobytes() in known for image in near[:, 1:].reshape(-1, 16, 16))


def test_curves_are_well_formed_and_take_the_pages_colours(html: str) -> None:
    drawings = re.findall(r"<svg.*?</svg>", html, re.DOTALL)
    assert len(drawings) == 1 + 2 * 2  # codes; scores and curves of both protocols
    for drawing in drawings:
        ElementTree.fromstring(drawing)
        assert "var(--ink)" in drawing
        assert "#000000" not in drawing  # black ink on a dark page
    assert "isolation forest" in drawings[2]
    assert len(re.findall(r">PCA, \w+, [01]", drawings[2])) == 1  # its best alone


def test_the_same_evaluation_gives_the_same_page(html: str, measured: Report) -> None:
    assert page.render(measured.figures, measured.drawn) == html


def test_what_is_missing_is_left_out(folder: Path, tmp_path: Path) -> None:
    subject = open_subject(make_oracle(tmp_path, height=16, width=16, channels=3, block=4))
    found = evaluate(subject, Asked(data=str(folder / "noise.npz"), limit=1))
    report.save(found, tmp_path / "report")
    text = (tmp_path / "report" / "report.html").read_text()
    assert list(pictures(text)) == ["Samples", "Reconstructions"]
    assert "Of the test images." in text
    assert not (tmp_path / "report" / "interpolations.png").exists()


def test_names_cannot_break_the_page(measured: Report) -> None:
    data = {**measured.figures["data"], "name": "<script>alert(1)</script>"}
    text = page.render({**measured.figures, "data": data, "notes": ["a < b"]}, measured.drawn)
    assert "<script" not in text
    assert "a &lt; b." in text


def test_large_images_are_shown_as_they_are_and_not_too_wide() -> None:
    images = np.random.default_rng(0).integers(0, 256, (30, 200, 300, 3), np.uint8)
    text = "".join(page._shown("Wide", "", images, columns=12))
    (found,) = pictures(text).values()
    assert found.shape[1] == 3 * 300 + 2 * 2
    assert np.array_equal(found[:200, :300], images[0])


def test_tiles_have_gaps_and_a_filled_last_row() -> None:
    images = np.full((3, 2, 2, 1), 9, np.uint8)
    found = np.asarray(tiled(images, 2, gap=1))
    assert found.tolist() == [
        [9, 9, 0, 9, 9], [9, 9, 0, 9, 9], [0] * 5, [9, 9, 0, 0, 0], [9, 9, 0, 0, 0],
    ]  # fmt: skip
