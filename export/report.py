"""The report of an evaluation, and the files it becomes."""

import json
from dataclasses import dataclass
from pathlib import Path

from export import page
from export.illustrations import COLUMNS, Illustrations, tiled
from export.sections import Json


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """What was measured, and pictures of it."""

    figures: Json  # plain values: report.json, and "quality" of a manifest
    drawn: Illustrations


def save(report: Report, folder: Path) -> None:
    """report.json, report.html and the pictures of samples, reconstructions and morphs.

    Raises OSError where they cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(report.figures, indent=2, allow_nan=False)
    (folder / "report.json").write_text(text + "\n", encoding="utf-8")
    drawn = report.drawn
    for name, images in (
        ("samples", drawn.wall),
        ("reconstructions", drawn.pairs),
        ("interpolations", drawn.morphs),
    ):
        if len(images):
            tiled(images, COLUMNS).save(folder / f"{name}.png")
    html = page.render(report.figures, drawn)
    (folder / "report.html").write_text(html, encoding="utf-8")
