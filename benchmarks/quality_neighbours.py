"""1-NN accuracy of a BiGAN on MNIST that does not know which pixels are neighbours.

The setting of Donahue, Kraehenbuehl and Darrell 2017, arXiv:1605.09782, section 4.2, as
models/configs/mnist-permutation.toml has it; measured by what `biject evaluate` measures by.
"""

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import click
import torch

from benchmarks.quality_methods import finish
from benchmarks.records import ROOT, Record, Records
from export.evaluate import neighbours
from export.parts import read
from export.subjects import open_subject
from export.watching import Silent
from export.work import Work
from models.config import Config
from models.training import loop

NAME: Final = "permutation"
CONFIG: Final = ROOT / "models" / "configs" / "mnist-permutation.toml"
EPOCHS: Final = 400  # of the paper
ROWS: Final = {
    "encoder": "E(x)",
    "hidden": "E's last hidden layer",
    "random_encoder": "E(x) with random weights",
    "random_hidden": "the last hidden layer with random weights",
    "pca": "PCA-{pca_size}",
    "pixels": "raw pixels",
}
TEXT: Final = """\
## 1-NN accuracy on permutation-invariant MNIST

The BiGAN of Donahue et al. 2017, arXiv:1605.09782, section 4.2 and appendix C.1: E and G of two
hidden layers of 1,024 units, which do not know which pixels are neighbours (`network = "flat"`), 50
latents uniform in -1..1; a test image is given the class of its nearest training image. Ours is
`models/configs/mnist-permutation.toml`:
{said}

| 1-NN accuracy, {queries:,} among {references:,} | % |
| --- | ---: |
{rows}
{words}

The paper's table 1 has 97.39 % for BiGAN, and from 97.13 to 97.63 % for what it compares with, all
after 400 epochs. Its authors' code measures E(x) and the layer before it. For a run of its own it
lists 92.10 and 97.35 % after 400 epochs, 95.41 and 96.28 after 25, and before any training 91.50
and 96.84: by these figures the paper's features are that layer, and half a point of their accuracy
was learned.
"""


def measure(records: Records, data: Path, runs: Path | None) -> None:
    """Append what `records` lack of it."""
    if records.has(set=NAME):
        return
    click.echo(f"{NAME}: {CONFIG.name}", err=True)
    with tempfile.TemporaryDirectory() as folder:
        run = train(Config.read(CONFIG), data / "mnist", Path(folder) / NAME if runs is None else
                    runs / NAME)  # fmt: skip
        records.append(set=NAME, **figures(run.out, data / "mnist", seconds=run.seconds))


def train(config: Config, data: Path, out: Path) -> loop.Run:
    """The run in `out`, on one thread, trained to its last step."""
    config = replace(
        config,
        data=replace(config.data, path=str(data)),
        train=replace(config.train, threads=1),
    )
    loop.use_threads(config)
    run = loop.Run(out, config, loop.read_data(config), torch.device("cpu"))
    finish(run)
    return run


def figures(run: Path, data: Path, *, seconds: float) -> dict[str, Any]:
    """What one run reaches, and what it took."""
    subject, watch = open_subject(run), Silent()
    assert subject.config is not None
    parts = read(subject, str(data), limit=None, crops=0, watch=watch)
    work = Work(subject, parts, 0, watch)
    assert work.train is not None
    assert work.linear is not None
    train = subject.config.train
    return {
        "trained": True,
        "steps": train.steps,
        "batch": train.batch,
        "epochs": round(train.steps * train.batch / len(work.train), 1),
        "fit_seconds": round(seconds),
        "one_nn": neighbours(work, work.train, work.linear),
    }


def section(records: Sequence[Record]) -> Iterator[str]:
    """The section of docs/quality.md; nothing without a record."""
    for record in records:
        if record["set"] == NAME:
            yield TEXT.format(
                said=_said(record),
                rows="".join(f"| {name} | {100 * value:.2f} |\n" for name, value in _rows(record)),
                words=_words(record),
                **record["one_nn"],
            )


def table(record: Record) -> list[list[str]]:
    """A row for each space, for a terminal."""
    return [
        ["1-NN accuracy", "%"],
        *([name, f"{100 * value:.2f}"] for name, value in _rows(record)),
    ]


def _rows(record: Record) -> Iterator[tuple[str, float]]:
    found = record["one_nn"]
    for key, name in ROWS.items():
        if key in found:
            yield name.format(**found), found[key]


def _said(record: Record) -> str:
    part = record["epochs"] / EPOCHS
    short = f", {part:.1%} of the paper's" if part < 1 else ""
    images = f"{record['steps']:,} steps of {record['batch']} images"
    minutes = f"{record['fit_seconds'] / 60:.0f} minutes on one thread beside other work"
    return f"{images}, {record['epochs']:g} epochs{short}, in {minutes}, once, from seed 0."


def _words(record: Record) -> str:
    """Ours against what needs no training."""
    compared = {
        "hidden": ("random_hidden", "pixels", "pca"),
        "encoder": ("random_encoder", "pixels", "pca"),
    }
    found = record["one_nn"]
    return "\n".join(f"Here {_against(found, key, others)}." for key, others in compared.items())


def _against(found: Record, key: str, others: Sequence[str]) -> str:
    words = {other: "better" if found[key] > found[other] else "no better" for other in others}
    said = [f"{word} than {ROWS[other].format(**found)}" for other, word in words.items()]
    return f"{ROWS[key]} is {', '.join(said[:-1])} and {said[-1]}"
