"""docs/ablation.md and its picture, from the records of benchmarks/ablation.py."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from benchmarks.ablation_claims import CLAIMS, Runs, mean
from benchmarks.ablation_judge import LEAST_CLASSES, LEAST_COVERAGE, MOST_APART, collapsed
from benchmarks.ablation_picture import draw
from benchmarks.ablation_variants import BASE, VARIANTS
from benchmarks.records import ROOT, Record

DOCUMENT: Final = ROOT / "docs" / "ablation.md"
PICTURE: Final = ROOT / "docs" / "images" / "ablation.png"

HEAD: Final = f"""\
# AEGAN and its parts

Written by `python -m benchmarks.ablation --write` from `benchmarks/results/ablation.jsonl`: AEGAN
(Lazarou 2020, arXiv:2004.05472) on Fashion-MNIST beside the models that are left when terms of its
loss are taken away, beside other pairings, and beside a GAN whose critic is held. The article shows
pictures and no figure; these are figures for its claims, from small networks and short runs.

```
python -m benchmarks.ablation                            # trains what is missing from its --run
python -m benchmarks.ablation --only gan,aegan --seed 1  # --steps, --width, --batch change it too
python -m benchmarks.ablation --write                    # this page and its picture
```

Figures are of the averaged networks, those that are exported, on images that were never trained
on; all that G makes has been rounded to 8 bits before it is looked at. Samples are compared in the
features of a classifier trained on the labels: no figure here is an FID, and none compares with
those of another page.
**Collapsed**, as it was set before the first run: coverage below {LEAST_COVERAGE:g}, or fewer than
{LEAST_CLASSES} classes found, or a nearest neighbour that tells samples in more than
{MOST_APART:.0%} of the cases. Runs that fail stay in the tables.

![Frechet distance by step, and samples](images/ablation.png)
"""

LEGEND: Final = """\
*Frechet*: squared distance of 2,500 samples to as many held-out images. *Coverage*: share of
held-out images with a sample nearer than their fifth neighbour (at best .97). *Classes*: those with
1 % of the samples or more; behind it the share of the largest. *1-NN*: share of samples whose
nearest neighbour is a sample (.5 is best). *Sharpness*: mean absolute Laplacian of the samples over
that of real images. *L1*: mean abs(x - G(E(x))), of 1. *Kept*: share of x̃ = G(E(x)) in which the
classifier sees the label of x. *z-cycle*: mean (z - E(G(z)))²; 1 is an E that always says 0. *KS*:
Kolmogorov-Smirnov distance of E(x) to the prior, mean of the dimensions (.02 for the prior
itself). *Halfway*: Frechet distance of G of the middle between the codes of two images. *CPU s*:
seconds of one core spent on training.
"""

LIMITS: Final = """\
## What this cannot say

- Seeds are as many as a cell has numbers: where it has one, a difference below a fifth is nothing.
- Runs end where the article's have hardly begun (it has 300,000 steps): nothing here is about what
  a long run comes to, nor whether one that collapsed would recover.
- The networks are small DCGANs with BatchNorm in G and E, at 32x32, where the article has layer
  norm and 64x64: a GAN that fails or does well here may not there. Fashion-MNIST is not faces.
- The critics and the pair take one update each on the same batch, where the article takes four of
  each in turn.
- Weights are the article's for each term that is on, never tuned for what is left when others are
  off. BiGAN's L1 weighs what AEGAN's does.
- One classifier judges all; it saw the training images, not the held-out ones, and no samples.
- E of a GAN rests, so it has no figures of cycles. D_z of AE and of "AEGAN - Dz" still learns,
  and moves nothing. EGAN's G runs through E(x) for BatchNorm's sake, without a loss on it.
  Without the z-cycle D_z still sees E(G(z)).
"""

COLUMNS: Final[tuple[tuple[str, Callable[[Any], str]], ...]] = (
    ("Frechet", lambda f: f"{f['frechet']:,.0f}"),
    ("coverage", lambda f: f"{f['coverage']:.2f}"),
    ("classes", lambda f: f"{f['classes']} ({f['largest']:.0%})"),
    ("1-NN", lambda f: f"{f['apart']:.2f}"),
    ("sharpness", lambda f: f"{f['sharpness']:.2f}"),
    ("L1", lambda f: f"{f['l1']:.3f}"),
    ("kept", lambda f: f"{f['kept']:.0%}"),
    ("z-cycle", lambda f: f"{f['cycle']:.2f}"),
    ("KS", lambda f: f"{f['ks']:.3f}"),
    ("halfway", lambda f: f"{f['halfway']:,.0f}"),
    ("CPU s", lambda f: f"{f['seconds']:.0f}"),
    ("collapsed", lambda f: ", ".join(collapsed(f)) or "no"),
)
PARTS: Final = {"frechet": "Frechet", "l1": "L1", "cycle": "z-cycle", "ks": "KS",
                "halfway": "halfway"}  # fmt: skip


def write(records: Sequence[Record]) -> None:
    """Write the page and the picture."""
    draw(records, PICTURE)
    DOCUMENT.write_text(document(records), encoding="utf-8")


def document(records: Sequence[Record]) -> str:
    """The text of docs/ablation.md; tables of what the records hold, however little it is."""
    runs = {name: [one for one in records if one["variant"] == name] for name in VARIANTS}
    runs = {name: own for name, own in runs.items() if own}
    claims = [claim for tell in CLAIMS if (claim := tell(runs))]
    parts = [HEAD, _whence(records)]
    if claims:
        parts.append("## What the article claims\n\n" + "\n".join(claims) + "\n")
    parts.append(f"## At the end\n\n{_end(runs, records[-1]['floor'])}\n{LEGEND}")
    parts.append(f"## Frechet distance on the way\n\n{_way(runs)}")
    if "aegan" in runs:
        parts.append(f"## What each part does\n\n{_parts(runs)}")
    return "\n".join([*parts, _variants(runs), LIMITS])


def _whence(records: Sequence[Record]) -> str:
    how = records[-1]["how"]
    commits = ", ".join(sorted({one["commit"] for one in records}))
    device = records[-1]["device"].split(", onnxruntime")[0]
    seeds = sorted({one["seed"] for one in records})
    minutes = sum(one["curve"][-1]["seconds"] for one in records if one["curve"]) / 60
    return (
        f"{len(seeds)} seed{'s' if len(seeds) > 1 else ''}, {how['size']}x{how['size']} pixels, "
        f"networks of width {how['width']}, batches of {how['batch']}, {how['steps']:,} updates of "
        f"G and of the critics. Commit {commits}, on one of {device}; {minutes:.0f} minutes of "
        "training on it. The classifier is right about "
        f"{records[-1]['floor']['accuracy']:.1%} of the held-out images.\n"
    )


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    rule = ["---", *["---:"] * (len(heads) - 1)]
    return "".join(f"| {' | '.join(line)} |\n" for line in (heads, rule, *rows))


def _each(own: Sequence[Record], tell: Callable[[Any], str], place: int = -1) -> str:
    """A cell: what `tell` says of each seed's figures, seeds apart."""
    told = []
    for one in own:
        there = -len(one["curve"]) <= place < len(one["curve"])
        try:
            told.append(tell(one["curve"][place]) if there else "diverged")
        except KeyError:  # E was not trained
            return "-"
    return "; ".join(told)


def _end(runs: Runs, floor: Mapping[str, Any]) -> str:
    rows = [
        [VARIANTS[name].title, *(_each(own, tell) for _, tell in COLUMNS)]
        for name, own in runs.items()
    ]
    real = {"curve": [dict(floor) | {"seconds": 0.0}]}
    rows.append(["*real images*", *(_each([real], tell) for _, tell in COLUMNS[:5]), *["-"] * 7])
    return _table(["", *(head for head, _ in COLUMNS)], rows)


def _way(runs: Runs) -> str:
    """Frechet distances at every checkpoint; in italics what has collapsed."""
    steps = [
        one["step"] for one in max((r["curve"] for own in runs.values() for r in own), key=len)
    ]

    def tell(figures: Any) -> str:
        value = f"{figures['frechet']:,.0f}"
        return f"*{value}*" if collapsed(figures) else value

    rows = [
        [VARIANTS[name].title, *(_each(own, tell, place) for place in range(len(steps)))]
        for name, own in runs.items()
    ]
    table = _table(["updates of G", *(f"{step:,}" for step in steps)], rows)
    return f"{table}\nIn italics: collapsed at that moment.\n"


def _parts(runs: Runs) -> str:
    """What AEGAN's figures are multiplied by when a part is taken away."""
    rows = []
    for name, own in runs.items():
        if VARIANTS[name].group != "knock-outs":
            continue
        factors = [f"{mean(own, key) / mean(runs['aegan'], key):.2f}" for key in PARTS]
        rows.append([VARIANTS[name].title, *factors])
    return (
        "AEGAN's figures at the end, of which less is better, times so much without the part:\n\n"
        + _table(["", *PARTS.values()], rows)
    )


def _variants(runs: Runs) -> str:
    """The config of each, as it would be typed."""
    base = "\n".join(
        f"[{section}]\n" + "\n".join(f"{key} = {_toml(value)}" for key, value in table.items())
        for section, table in BASE.items()
    )
    rows = [
        [VARIANTS[name].title, " ".join(f"`{one}`" for one in VARIANTS[name].overrides) or "-"]
        for name in runs
    ]
    lines = [["", "set"], ["---", "---"], *rows]
    table = "".join(f"| {' | '.join(line)} |\n" for line in lines)
    return (
        "## The configs\n\nEach is a config that `biject train` takes: this one, with what the "
        f"table sets.\n\n```toml\n{base}\n```\n\n{table}"
    )


def _toml(value: Any) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value)
