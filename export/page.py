"""report.html: the figures and pictures of an evaluation as one file that needs no other."""

import base64
from collections.abc import Iterator
from html import escape
from io import BytesIO
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from export import plots
from export.illustrations import Illustrations, tiled
from export.sections import Json, Section, sections

Images = npt.NDArray[np.uint8]

SIDE: Final = 64  # screen pixels that an image has at least, by whole-number enlargement
WIDEST: Final = 1100  # screen pixels of a picture
GAP: Final = 2  # screen pixels between images
TRIPLES: Final = 24  # reconstructions shown, with image and heat
MORPHS: Final = 8

STYLE: Final = """
:root { color-scheme: light dark; --ink: #1c1c1c; --faint: #8a8a8a; --paper: #ffffff;
  --rule: #dddddd; --series-0: #1f6fb4; --series-1: #d1495b; --series-2: #2a9d5c;
  --series-3: #b8860b; --series-4: #7b4fb0; --series-5: #5f6b75; --series-6: #b0527f; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e6e6; --faint: #8a8a8a; --paper: #16181c;
  --rule: #353840; --series-0: #6db3f2; --series-1: #f2798a; --series-2: #5fd39a;
  --series-3: #e3b341; --series-4: #b794f4; --series-5: #a3b0bb; --series-6: #f299c1; } }
body { background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, sans-serif;
  max-width: 1140px; margin: 0 auto; padding: 1.5rem; }
h1 { font-size: 1.6rem; margin: 0; } h2 { font-size: 1.2rem; margin: 2.2rem 0 .6rem; }
h3 { font-size: 1rem; margin: 0 0 .3rem; }
p { margin: .3rem 0; } .said { color: var(--faint); }
.tables { columns: 2 500px; column-gap: 2rem; }
.tables > * { break-inside: avoid; padding-bottom: 1.4rem; }
@media (max-width: 600px) { .tables { columns: 1; } }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: .15rem .6rem .15rem 0; border-bottom: 1px solid var(--rule);
  text-align: right; font-weight: normal; vertical-align: top; }
th:first-child, td:first-child { text-align: left; } th { color: var(--faint); }
figure { margin: 0; overflow-x: auto; } figcaption { color: var(--faint); }
img { image-rendering: pixelated; display: block; }
svg { max-width: 100%; height: auto; }
"""


def render(figures: Json, drawn: Illustrations) -> str:
    """The whole page."""
    return "\n".join(_lines(figures, drawn)) + "\n"


def _lines(figures: Json, drawn: Illustrations) -> Iterator[str]:
    title, data = escape(figures["subject"]["title"]), figures["data"]
    yield "<!doctype html>"
    yield '<html lang="en"><head><meta charset="utf-8">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f"<title>{title} on {escape(data['name'])}</title><style>{STYLE}</style></head><body>"
    yield f"<h1>{title} on {escape(data['name'])}</h1>"
    yield (
        f'<p class="said">{data["test"]:,} images measured on, {data["train"]:,} to fit baselines '
        f"to; seed {figures['seed']}; {figures['seconds']:.0f} s on the "
        f"{escape(figures['subject']['device'])}.</p>"
    )
    yield "<h2>Figures</h2>"
    yield '<div class="tables">'
    for section in sections(figures):
        yield from _table(section)
    yield "</div>"
    if figures["notes"]:
        yield "<h2>Notes</h2>"
        yield from (f"<p>{escape(note)}.</p>" for note in figures["notes"])
    yield from _pictures(drawn, figures["seed"])
    yield from _curves(drawn)
    yield "</body></html>"


def _table(section: Section) -> Iterator[str]:
    yield f"<section><h3>{escape(section.title)}</h3><table>"
    if any(section.heads):
        yield f"<tr>{''.join(f'<th>{escape(head)}</th>' for head in section.heads)}</tr>"
    for row in section.rows:
        yield f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>"
    yield "</table></section>"


def _pictures(drawn: Illustrations, seed: int) -> Iterator[str]:
    yield from _shown("Samples", f"G(z) for seed {seed}, none left out.", drawn.wall, columns=12)
    triples = _with_heat(drawn)[: 3 * TRIPLES]
    yield from _shown(
        "Reconstructions",
        "Image, reconstruction, and where they differ; a difference of "
        f"{drawn.full_heat:.2f} or more has the brightest colour, in every picture.",
        triples,
        columns=12,
        together=3,
    )
    if drawn.neighbours.shape[1] > 1:
        near = drawn.neighbours
        yield from _shown(
            "Nearest training images",
            f"Each row begins with a sample; the training images nearest to it in "
            f"{drawn.neighbours_in} follow. A sample that equals its neighbour is a copy.",
            near.reshape(-1, *near.shape[2:]),
            columns=near.shape[1],
            together=near.shape[1],
        )
    yield from _shown(
        "Morphs",
        "From the reconstruction of one test image to that of another.",
        drawn.morphs[: MORPHS * 12],
        columns=12,
        together=12,
    )


def _curves(drawn: Illustrations) -> Iterator[str]:
    yield "<h2>Codes beside the prior</h2>"
    yield (
        f"<figure><figcaption>Histograms of E(x), {len(drawn.codes):,} test images; the line is "
        "the prior. The dimensions that fit it worst come first, those that fit best last."
        f"</figcaption>{plots.latent_histograms(drawn.codes, prior=drawn.prior)}</figure>"
    )
    yield "<h2>Scores</h2>"
    if not drawn.scored:
        drawing = plots.score_histogram(normal=drawn.normal, abnormal=None, term=drawn.term)
        yield f"<figure><figcaption>Of the test images.</figcaption>{drawing}</figure>"
    for scored in drawn.scored:
        normal, abnormal = scored.normal[drawn.term], scored.abnormal[drawn.term]
        yield f"<h3>{escape(scored.title[:1].upper() + scored.title[1:])}</h3>"
        drawing = plots.score_histogram(normal=normal, abnormal=abnormal, term=drawn.term)
        yield f"<figure>{drawing}</figure>"
        yield f"<figure>{plots.roc_and_precision(scored)}</figure>"


def _shown(
    title: str, said: str, images: Images, *, columns: int, together: int = 1
) -> Iterator[str]:
    """A heading and one picture of many images, enlarged without blur.

    Fewer columns where they would be too wide, but a multiple of `together`.
    """
    if not len(images):
        return
    zoom = max(1, -(-SIDE // min(images.shape[1:3])))
    fit = max(1, WIDEST // (images.shape[2] * zoom + GAP) // together) * together
    columns = min(columns, fit)
    rows = min(12, -(-len(images) // columns))
    large = images[: rows * columns].repeat(zoom, axis=1).repeat(zoom, axis=2)
    picture = tiled(large, columns, gap=GAP)
    alt = escape(f"{title}: {len(large)} images")
    yield f"<h2>{escape(title)}</h2>"
    yield (
        f"<figure><figcaption>{escape(said)}</figcaption>"
        f'<img src="{_data_uri(picture)}" width="{picture.width}" height="{picture.height}" '
        f'alt="{alt}"></figure>'
    )


def _with_heat(drawn: Illustrations) -> Images:
    """Image, reconstruction and glowing differences in turn, RGB."""
    if not len(drawn.pairs):
        return drawn.pairs
    pairs = drawn.pairs.reshape(-1, 2, *drawn.pairs.shape[1:])
    if pairs.shape[-1] == 1:
        pairs = pairs.repeat(3, axis=-1)
    glow = _glowing(pairs[:, 0], drawn.heat / drawn.full_heat)
    return np.concatenate([pairs, glow[:, None]], axis=1).reshape(-1, *pairs.shape[2:])


def _glowing(images: Images, strength: npt.NDArray[Any]) -> Images:
    """Images [N, H, W, 3] in dim grey under their heat [N, H, W], 1 and above in full colour."""
    from matplotlib import colormaps

    strength = strength.clip(0.0, 1.0)
    colour = colormaps["inferno"](strength)[..., :3] * 255.0
    grey = images.mean(axis=-1, keepdims=True)
    opacity = np.sqrt(strength)[..., None] * 0.9
    glow: Images = np.rint((1 - opacity) * 0.6 * grey + opacity * colour).astype(np.uint8)
    return glow


def _data_uri(picture: Image.Image) -> str:
    buffer = BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
