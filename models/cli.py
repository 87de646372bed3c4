"""`biject train`: a config to a run directory."""

import json
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import click
from tqdm import tqdm

from models import choices
from models.config import Config
from models.errors import BadConfig, Diverged, ModelError, WorkerLost
from models.training import checkpoint, loop
from models.training.memory import keep_memory
from models.training.workers import ALONE, Workers, gathered

SHOWN_SKIPPED = 5
LINE = "{n_fmt} of {total_fmt} steps, {rate_fmt}, {remaining} left{postfix}"


class WrongUse(click.ClickException):
    """A user's mistake, told in one sentence."""

    exit_code = 2


@click.command()
@click.argument("config_path", metavar="CONFIG", required=False, type=click.Path(path_type=Path))
@click.option("--data", metavar="D", help="Data to train on; replaces data.path of the config.")
@click.option(
    "--out", metavar="RUN", type=click.Path(path_type=Path), help="Run directory to make."
    "  [default: runs/NAME of the config]",
)  # fmt: skip
@click.option("--steps", type=click.IntRange(min=1), metavar="N", help="Updates of G and E.")
@click.option(
    "--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True
)
@click.option(
    "--set", "overrides", multiple=True, metavar="SECTION.KEY=VALUE", help="Replace one setting."
)
@click.option("--resume", metavar="RUN", type=click.Path(path_type=Path), help="Continue a run.")
@click.option("-n", "--dry-run", is_flag=True, help="Print the resolved config and stop.")
def train(
    config_path: Path | None,
    data: str | None,
    out: Path | None,
    steps: int | None,
    device: str,
    overrides: tuple[str, ...],
    resume: Path | None,
    dry_run: bool,
) -> None:
    """Train the pair of networks that CONFIG (TOML) describes.

    \b
    Example:
        biject train models/configs/digits.toml --out runs/digits
        biject train --resume runs/digits --set train.lr=1e-4
    """
    with _one_sentence(), gathered(device) as workers:
        if resume is not None:
            if config_path or data or out or dry_run:
                raise BadConfig("--resume takes only --steps, --set and --device besides the run")
            run = _resumed(resume, steps, device, overrides, workers)
        elif config_path is None:
            raise BadConfig("name a config (CONFIG.toml), or a run to continue (--resume RUN)")
        else:
            config = _resolved(config_path, data, steps, overrides)
            if dry_run:
                click.echo(json.dumps(_checked(config).to_dict(), indent=2))
                return
            run = _begun(config, out or Path("runs") / config_path.stem, device, workers)
        _drive(run)


def _resolved(
    path: Path, data: str | None, steps: int | None, overrides: tuple[str, ...]
) -> Config:
    config = Config.read(path, _with_steps(overrides, steps))
    if data is not None:
        config = replace(config, data=replace(config.data, path=data))
    return config


def _with_steps(overrides: tuple[str, ...], steps: int | None) -> tuple[str, ...]:
    # among the others, since one may fit its number alone (train.polish)
    return overrides if steps is None else (*overrides, f"train.steps={steps}")


def _begun(config: Config, out: Path, device: str, workers: Workers) -> loop.Run:
    run = _opened(out, _checked(config, workers), device, workers)
    run.begin(_command())
    return run


def _resumed(
    out: Path, steps: int | None, device: str, overrides: tuple[str, ...], workers: Workers
) -> loop.Run:
    before, found = checkpoint.read_config(out)
    config = before.changed(_with_steps(overrides, steps))
    if any(getattr(config, own) != getattr(before, own) for own in ("data", "model", "objective")):
        raise BadConfig(
            "a run goes on with its own data, model and objective: --set another section"
        )
    if config.train.seed != before.train.seed:
        raise BadConfig("a run goes on with its own seed: another would train on held-out items")
    if any(
        getattr(config.train, own) != getattr(before.train, own)
        for own in ("optimiser", "critic_optimiser")
    ):
        raise BadConfig("a run goes on with its own optimisers: another cannot read their state")
    run = _opened(out, _checked(config, workers), device, workers)
    run.resume(found, _command())
    if not run.trainer.step and workers.leads:
        click.echo(f"{out} was ended before its first checkpoint: it begins anew", err=True)
    return run


def _checked(config: Config, workers: Workers = ALONE) -> Config:
    """The config resolved, before minutes of reading images; warnings go to stderr."""
    config = loop.check(config)
    for sentence in choices.warnings(config) if workers.leads else ():
        click.echo(f"warning: {sentence}", err=True)
    return config


def _command() -> str:
    return shlex.join(["biject", *sys.argv[1:]])


def _opened(out: Path, config: Config, device: str, workers: Workers) -> loop.Run:
    loop.use_threads(config)
    keep_memory()
    bar = tqdm(
        desc="reading", unit="img", file=sys.stderr, leave=False, delay=1, disable=not workers.leads
    )
    with bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        data = loop.read_data(config, progress)
    if data.skipped and workers.leads:
        click.echo(f"skipped {len(data.skipped)} unreadable files:", err=True)
        for item in data.skipped[:SHOWN_SKIPPED]:
            click.echo(f"  {item.name}: {item.reason}", err=True)
        if len(data.skipped) > SHOWN_SKIPPED:
            click.echo("  ... all of them are in config.json", err=True)
    return loop.Run(out, config, data, loop.pick_device(device), workers)


class _Lines:
    """stderr that nobody watches: a line for each that would overwrite the one before."""

    def write(self, text: str) -> None:
        if words := text.strip():
            sys.stderr.write(f"{words}\n")

    def flush(self) -> None:
        sys.stderr.flush()


def _drive(run: loop.Run) -> None:
    """Train with a progress bar on stderr; the run directory on stdout at the end."""
    steps = run.config.train.steps
    log = not sys.stderr.isatty()
    with tqdm(
        total=steps,
        initial=run.trainer.step,
        desc="train",
        unit="step",
        file=_Lines() if log else sys.stderr,
        bar_format=LINE if log else None,
        mininterval=30 if log else 0.5,
        dynamic_ncols=True,
        disable=not run.workers.leads,
    ) as bar:
        for tick in run.steps():
            if tick.losses:
                shown = "  ".join(
                    f"{name.partition('/')[2]} {value:.3f}"
                    for name, value in tick.losses.items()
                    if not name.endswith("total")
                )
                bar.set_postfix_str(f"{tick.images_per_second:.0f} img/s  {shown}", refresh=False)
            bar.update(tick.step - bar.n)
    if run.workers.leads:
        click.echo(str(run.out))


@contextmanager
def _one_sentence() -> Iterator[None]:
    """Say a ModelError in one sentence: exit code 1 for failed work, 2 for wrong use."""
    try:
        yield
    except (Diverged, WorkerLost) as error:
        raise click.ClickException(str(error)) from error
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        raise click.ClickException(f"{where}{error.strerror or error}") from error
    except ModelError as error:
        raise WrongUse(str(error)) from error


if __name__ == "__main__":  # what torchrun starts: -m models.cli train ...
    click.Group(commands={"train": train})()
