"""The session of inspection in README, with its own commands, from frames to a place on one."""

import io
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from main_path.test_from_images_to_answers import ROOT, served

TILES = Path(os.environ.get("BIJECT_DATA", "data")) / "magnetic-tile" / "magnetic_tile_half.zip"
SHORTER = {"train": ["--steps", "150"], "evaluate": ["--limit", "60"]}


def session() -> list[list[str]]:
    """README's commands up to the server."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```\w*\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    [block] = [each for each in blocks if "--tile" in each]
    lines = [line.split() for line in block.splitlines()]
    return [words[1:] for words in lines if words[0].endswith("biject")]


@pytest.mark.slow
def test_the_session_of_inspection(tmp_path: Path) -> None:
    if not TILES.exists():
        pytest.skip("the magnetic tiles are not here")
    (tmp_path / "magnetic_tile.zip").symlink_to(TILES.resolve())
    (tmp_path / "models").symlink_to(ROOT / "models")
    commands = session()
    assert [words[0] for words in commands] == ["train", "export", "evaluate", "serve"]
    said = ""
    for words in commands[:-1]:
        done = subprocess.run(
            [sys.executable, "-m", "biject", *words, *SHORTER.get(words[0], [])],
            cwd=tmp_path, capture_output=True, text=True, timeout=280,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        said = done.stdout
    assert "tiles of 32, stride 16" in said
    for figure in ("pixel", "PRO", "PCA, peak"):
        assert figure in said
    with zipfile.ZipFile(TILES) as archive:
        name = next(name for name in archive.namelist() if "/test/blowhole/" in f"/{name}")
        frame = archive.read(name)
    with served(tmp_path / commands[-1][1]) as client:
        answer = client.post(
            "/v1/models/magnetic/score?tile=32&roi=6,6,-6,-6&heatmap=overlay",
            files={"images": ("frame.jpg", io.BytesIO(frame), "image/jpeg")},
        )
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body["by"] == "peak"
    assert body["results"][0]["p_value"] is not None
    worst = body["results"][0]["worst"]
    assert (worst["width"], worst["height"]) == (32, 32)
    assert body["results"][0]["heatmap"]
