"""How long work tells of itself: lines and bars on stderr, or nothing at all."""

import sys
from collections.abc import Iterable, Sequence

import click
from tqdm import tqdm

from models.datasets.dataset import Progress


class Silent:
    """Nobody watches."""

    def say(self, line: str) -> None:
        """One line about what begins now."""

    def track(self, steps: Sequence[int], label: str) -> Iterable[int]:
        """The steps, with a bar where someone watches."""
        return steps

    def reading(self, label: str) -> Progress:
        """A callback for (done, all) while a part of the data is read."""
        return lambda done, total: None


class Terminal(Silent):
    """Lines for everybody, bars for a person at a terminal."""

    def say(self, line: str) -> None:
        """Print the line to stderr."""
        click.echo(line, err=True)

    def track(self, steps: Sequence[int], label: str) -> Iterable[int]:
        """The steps behind a bar that goes when they are done."""
        return tqdm(steps, desc=label, file=sys.stderr, leave=False, disable=None, delay=0.5)

    def reading(self, label: str) -> Progress:
        """A bar over the images read, closed by the last one."""
        bar = tqdm(desc=label, unit="img", file=sys.stderr, leave=False, disable=None, delay=0.5)

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)
            if done == total:
                bar.close()

        return progress
