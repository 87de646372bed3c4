"""docs/recipes.md: every program, command, script and tag of it, against a real server."""

import io
import json
import re
import shutil
import subprocess

import httpx
import pytest
from PIL import Image

from documentation import console, recipes
from documentation.console import HOST, Place, agree

TEXT = recipes.RECIPES.read_text(encoding="utf-8")
STEPS = recipes.steps(TEXT)
pytestmark = pytest.mark.skipif(not console.MODEL.is_dir(), reason=f"no {console.MODEL}")


@pytest.fixture(scope="module")
def printed(place: Place) -> list[list[str] | RuntimeError]:
    """What each step prints, or how it fails, in their order: some read what others wrote."""
    found: list[list[str] | RuntimeError] = []
    for step in STEPS:
        try:
            found.append(recipes.run(step, place))
        except RuntimeError as error:
            found.append(error)
    return found


@pytest.mark.parametrize("number", range(len(STEPS)))
def test_each_prints_what_is_shown(printed: list[list[str] | RuntimeError], number: int) -> None:
    lines, shown = printed[number], STEPS[number].output
    assert not isinstance(lines, RuntimeError), lines
    assert len(shown) == len(lines), f"run fill_documents.py; it prints: {lines}"
    assert [pair for pair in zip(shown, lines, strict=True) if not agree(*pair)] == []


def test_what_they_write_are_pictures(
    printed: list[list[str] | RuntimeError], place: Place
) -> None:
    names = [path.name for path in place.folder.glob("*.png")]
    assert {"rejected-emoji.png", "nine-boots.png", "openai-0.png", "openai-2.png"} <= {*names}
    assert "rejected-boot.png" not in names
    for name in names:
        with Image.open(place.folder / name) as image:
            image.load()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


def test_no_block_is_in_a_language_that_nobody_runs() -> None:
    assert {*re.findall(r"^```(\w+)$", TEXT, re.M)} == {"console", "python", "text", "js", "html"}


@pytest.mark.skipif(shutil.which("node") is None, reason="no node")
def test_the_script_for_a_page_makes_a_morph(place: Place) -> None:
    """In node, whose fetch, FormData and object URLs are a browser's."""
    (script,) = blocks("js")
    script = script.replace(HOST, f"localhost:{place.port}")
    script += """
    const { readFileSync } = require("node:fs");
    const { resolveObjectURL } = require("node:buffer");
    const file = (name) => new Blob([readFileSync(`docs/images/${name}.png`)]);
    (async () => {
      const blob = resolveObjectURL(await morph(file("bag"), file("boot")));
      process.stdout.write(Buffer.from(await blob.arrayBuffer()));
      const wrong = await morph(file("bag"), new Blob(["no image"])).catch((error) => error);
      process.stderr.write(JSON.stringify([wrong instanceof Error, wrong.message]));
    })();
    """
    ended = subprocess.run(
        ["node", "-e", script], cwd=place.folder, capture_output=True, timeout=60, check=True
    )
    with Image.open(io.BytesIO(ended.stdout)) as moving:
        assert (moving.format, moving.n_frames) == ("WEBP", 24)  # type: ignore[attr-defined]
    assert json.loads(ended.stderr)[0] is True
    assert "1 of 2 images" in json.loads(ended.stderr)[1]


def test_the_picture_on_a_page_is_one(place: Place) -> None:
    (tag,) = blocks("html")
    (url,) = re.findall(r'src="([^"]*)"', tag)
    accept = "image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8"  # Chromium's
    answer = httpx.get(
        url.replace("&amp;", "&").replace(HOST, f"localhost:{place.port}"),
        headers={"Accept": accept},
    )
    with Image.open(io.BytesIO(answer.content)) as image:
        assert (image.format, image.size) == ("PNG", (128, 128))
    assert "max-age" in answer.headers["cache-control"]
