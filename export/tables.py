"""Figures as a table for people: on the terminal, and in the card."""

from collections.abc import Iterator

from export.sections import Json, Section, sections


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


def _unit(data: Json) -> str:
    if data.get("items") == "vectors":
        return "the column's scale, over all columns"
    return "255 over all pixels and channels"


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
        f"Mean absolute error is mean |x - G(E(x))| / {_unit(data)}."
    )
    for section in sections(figures):
        yield from ("", f"**{section.title}**", "", f"| {' | '.join(section.heads)} |")
        yield f"|{'---|' * len(section.heads)}"
        yield from (f"| {' | '.join(row)} |" for row in section.rows)
    for note in figures["notes"]:
        yield from ("", f"{note}.")
