"""log.jsonl: one JSON object per logging step, and losses.png drawn from it."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from models.training.checkpoint import write_whole

NAME = "log.jsonl"


def append(run: Path, line: Mapping[str, Any]) -> None:
    """Add one line."""
    with (run / NAME).open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def read(run: Path) -> Iterator[dict[str, Any]]:
    """The whole lines, in order; a last line that a kill cut short is left out."""
    path = run / NAME
    if not path.exists():
        return
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            yield json.loads(line)
        except json.JSONDecodeError:
            return


def forget_after(run: Path, step: int) -> None:
    """Drop the lines past `step`: a resumed run writes them again."""
    kept = [json.dumps(line) + "\n" for line in read(run) if line["step"] <= step]
    write_whole(run / NAME, "".join(kept))


def draw(run: Path) -> None:
    """losses.png: every loss over the steps, critics above, G and E below."""
    lines = list(read(run))
    if not lines:
        return
    from matplotlib.figure import Figure  # half a second to import: only who draws waits

    figure = Figure(figsize=(9, 7), layout="constrained")
    axes = figure.subplots(2, 1, sharex=True)
    for axis, side, title in zip(
        axes, ("critic", "pair"), ("critics", "generator and encoder"), strict=True
    ):
        for name in dict.fromkeys(name for line in lines for name in line["losses"]):
            if name.startswith(f"{side}/"):
                # a lazy penalty is not in every line
                points = [(n["step"], n["losses"][name]) for n in lines if name in n["losses"]]
                axis.plot(*zip(*points, strict=True), label=name.partition("/")[2], linewidth=1)
        axis.set_title(title, loc="left")
        axis.set_ylabel("loss")
        axis.grid(alpha=0.3)
        if axis.lines:  # without a critic, or while it warms up, one side has no losses
            axis.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    axes[-1].set_xlabel("step")
    partial = run / ".losses.partial.png"
    figure.savefig(partial, dpi=100)
    partial.replace(run / "losses.png")
