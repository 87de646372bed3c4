"""Figures as a table for people: on the terminal, in the card, and as files."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from export import page
from export.illustrations import COLUMNS, Illustrations, tiled
from export.sections import Json, Section, sections


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """What was measured, and pictures of it."""

    figures: Json  # plain values: report.json, and "quality" of a manifest
    drawn: Illustrations


def text(figures: Json) -> str:
    """A table for a terminal."""
    lines = [f"{figures['subject']['title']} on {figures['data']['name']}"]
    found = list(sections(figures))
    width = max(len(row[0]) for section in found for row in section.rows)
    for section in found:
        lines += ["", *_table(section, width)]
    if figures["notes"]:
        lines += ["", "Notes", *(f"  {note}" for note in figures["notes"])]
    return "\n".join(lines)


def _table(section: Section, width: int) -> Iterator[str]:
    if not any(section.heads):
        yield section.title
        yield from (f"  {what:{width}}  {value}" for what, value in section.rows)
        return
    yield section.title
    columns = [max(map(len, column)) for column in zip(section.heads, *section.rows, strict=True)]
    for row in (section.heads, *section.rows):
        cells = [f"{cell:>{size}}" for cell, size in zip(row[1:], columns[1:], strict=True)]
        yield f"  {row[0]:{width}}  {'  '.join(cells)}".rstrip()


def markdown(figures: Json) -> Iterator[str]:
    """The same as lines of Markdown."""
    data, subject = figures["data"], figures["subject"]
    yield (
        f"Measured on {data['name']} by `biject evaluate`, on the {subject['device']}.  "
        "Mean absolute error is mean |x - G(E(x))| / 255 over all pixels and channels."
    )
    for section in sections(figures):
        yield from ("", f"**{section.title}**", "", f"| {' | '.join(section.heads)} |")
        yield f"|{'---|' * len(section.heads)}"
        yield from (f"| {' | '.join(row)} |" for row in section.rows)
    for note in figures["notes"]:
        yield from ("", f"{note}.")


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
