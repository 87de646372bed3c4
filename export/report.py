"""Figures as a table for people: on the terminal, in the card, and as files."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

Json = Mapping[str, Any]
Images = npt.NDArray[np.uint8]

COLUMNS = 12  # of pictures
FRAMES = COLUMNS  # from one image to another


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """What was measured, and pictures of it."""

    figures: Json  # plain values: report.json, and "quality" of a manifest
    wall: Images  # samples [N, H, W, C]
    pairs: Images  # images and reconstructions in turn
    morphs: Images  # FRAMES from one image to another, then the next


class Section(NamedTuple):
    """A heading and its rows of (what, value)."""

    title: str
    rows: list[tuple[str, str]]


def sections(figures: Json) -> Iterator[Section]:
    """The figures in words, in the order of interest; what was not measured is not there."""
    data = figures["data"]
    yield _reconstruction(figures["reconstruction"], data["test"])
    if "one_nn" in figures:
        yield _neighbours(figures["one_nn"])
    yield _codes(figures["codes"])
    if "anomaly" in figures:
        yield _anomaly(figures["anomaly"], data["name"])
    if "samples" in figures:
        yield _samples(figures["samples"], figures["seed"])


def text(figures: Json) -> str:
    """A table for a terminal."""
    lines = [f"{figures['subject']['title']} on {figures['data']['name']}"]
    found = list(sections(figures))
    width = max(len(what) for section in found for what, _ in section.rows)
    for section in found:
        lines += ["", section.title]
        lines += [f"  {what:{width}}  {value}" for what, value in section.rows]
    if figures["notes"]:
        lines += ["", "Notes", *(f"  {note}" for note in figures["notes"])]
    return "\n".join(lines)


def markdown(figures: Json) -> Iterator[str]:
    """The same as lines of Markdown."""
    data, subject = figures["data"], figures["subject"]
    yield (
        f"Measured on {data['name']} by `biject evaluate`, on the {subject['device']}.  "
        "Mean absolute error is mean |x - G(E(x))| / 255 over all pixels and channels."
    )
    for section in sections(figures):
        yield from ("", f"**{section.title}**", "", "| | |", "|---|---|")
        yield from (f"| {what} | {value} |" for what, value in section.rows)
    for note in figures["notes"]:
        yield from ("", f"{note}.")


def save(report: Report, folder: Path) -> None:
    """report.json, samples.png, reconstructions.png and interpolations.png in `folder`.

    Raises OSError where they cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(report.figures, indent=2, allow_nan=False)
    (folder / "report.json").write_text(text + "\n", encoding="utf-8")
    for name, images in (
        ("samples", report.wall),
        ("reconstructions", report.pairs),
        ("interpolations", report.morphs),
    ):
        if len(images):
            _tiled(images, COLUMNS).save(folder / f"{name}.png")


def _reconstruction(found: Json, count: int) -> Section:
    rows = [("mean absolute error, of 1", f"{found['l1']:.4f}")]
    if "own_to_other" in found:
        rows.append(("L2 distance, own / another image's", f"{found['own_to_other']:.4f}"))
    if "pca" in found:
        pca = found["pca"]
        name = f"PCA-{pca['size']}"
        rows.append((f"{name}, mean absolute error", f"{pca['l1']:.4f}"))
        if "own_to_other" in pca:
            rows.append((f"{name}, own / another image's", f"{pca['own_to_other']:.4f}"))
    return Section(f"Reconstruction of {count:,} images", rows)


def _neighbours(found: Json) -> Section:
    names = {
        "encoder": "E(x)",
        "pixels": "raw pixels",
        "pca": f"PCA-{found['pca_size']}",
        "random_encoder": "E with random weights",
    }
    rows = [(name, f"{found[key]:.4f}") for key, name in names.items() if key in found]
    title = "1-NN class accuracy, {queries:,} test images among {references:,} training images"
    return Section(title.format_map(found), rows)


def _codes(found: Json) -> Section:
    prior = found["prior"]
    return Section(
        "Codes E(x), smallest and largest over the dimensions",
        [
            ("mean", f"{_range(found['mean'])}  (prior {prior['mean']:.2f})"),
            ("standard deviation", f"{_range(found['std'])}  (prior {prior['std']:.2f})"),
        ],
    )


def _anomaly(found: Json, name: str) -> Section:
    rows = [
        (f"{term}{' (default)' if term == found['default'] else ''}", f"{value:.4f}")
        for term, value in found["auroc"].items()
    ]
    if "pca_l2" in found:
        rows.append(("PCA, l2", f"{found['pca_l2']:.4f}"))
    return Section(
        f"AUROC, {found['normal']:,} images of {name} against {found['abnormal']:,} "
        f"of {found['against']}",
        rows,
    )


def _samples(found: Json, seed: int) -> Section:
    shares = ", ".join(f"{name} {share:.1%}" for name, share in found["shares"].items())
    covered = f"{found['classes_covered']} of {len(found['shares'])}"
    ends = found["smallest_share"], found["largest_share"]
    return Section(
        f"{found['count']:,} samples (seed {seed}) by a classifier that is right on "
        f"{found['classifier_accuracy']:.1%} of real images",
        [
            ("classes covered", covered),
            (
                "smallest and largest share",
                " .. ".join(f"{end:.1%}" for end in ends),
            ),
            ("mean top confidence / that on real", f"{found['confidence_ratio']:.3f}"),
            ("shares", shares),
        ],
    )


def _range(ends: Iterable[float]) -> str:
    return " .. ".join(f"{end:+.3f}" for end in ends)


def _tiled(images: Images, columns: int) -> Image.Image:
    """Images [N, H, W, C] row by row; the last row filled up with black."""
    count, height, width, channels = images.shape
    lines = -(-count // columns)
    canvas = np.zeros((lines * columns, height, width, channels), np.uint8)
    canvas[:count] = images
    tiles = canvas.reshape(lines, columns, height, width, channels).transpose(0, 2, 1, 3, 4)
    whole = np.ascontiguousarray(tiles.reshape(lines * height, columns * width, channels))
    return Image.fromarray(whole[..., 0] if channels == 1 else whole)
