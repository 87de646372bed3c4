"""What the offline verbs share: an opened bundle, images read from disk, results written."""

import contextlib
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import click
import numpy as np

from serving import files, labels, tables
from serving.bundle import MANIFEST, Manifest, VectorSpec
from serving.cores import usable_cores
from serving.engine import Device
from serving.errors import BundleError, DeviceError, InputError, ServingError, Unprocessable
from serving.files import Figures, WrongOutput
from serving.inputs import Input, Reading, at_own_size, fitted, listed, read
from serving.local import LocalPair, open_bundle
from serving.queueing import Array

_BLOCK: Final = 512  # images that are decoded before they are computed
_FEW: Final = 8  # the same of frames


class Wrong(click.ClickException):
    """Wrong use, said in one sentence."""

    exit_code = 2


class Source:
    """The images of a command, block by block: uint8 [n, H, W, C], or frames at their own sizes.

    Args:
        reading: What one image's bytes or pixels become.
        block: How many there are in a block.
    """

    def __init__(self, reading: Reading, paths: Sequence[Path], *, block: int = _BLOCK) -> None:
        self._reading, self._block = reading, block
        self._inputs = list(listed(paths))
        self.names = [one.path for one in self._inputs]  # one per row

    def __iter__(self) -> Iterator[list[Array]]:
        """Decode block after block; if any file cannot be read, all of those are named at the end.

        Nothing is given from the first bad file on: the command is going to fail.
        """
        bad: list[str] = []
        starts = range(0, len(self._inputs), self._block)
        with (
            ThreadPoolExecutor(usable_cores()) as pool,
            click.progressbar(
                length=len(self._inputs),
                label="images",
                file=sys.stderr,
                hidden=not sys.stderr.isatty(),
            ) as bar,
        ):
            for start in starts:
                block = list(pool.map(self._read, self._inputs[start : start + self._block]))
                bad += [one for one in block if isinstance(one, str)]
                if not bad:
                    yield [one for one in block if not isinstance(one, str)]
                bar.update(len(block))
        if bad:
            raise click.ClickException(
                "\n".join([f"{len(bad)} of {len(self._inputs)} images cannot be read", *bad])
            )

    def _read(self, one: Input) -> Array | str:
        """The image, or what is wrong with it."""
        found = read(one, self._reading)
        return f"{one.path}: {found}" if isinstance(found, str) else found


class Rows:
    """The rows of tables, block by block: float32 [n, D]."""

    def __init__(self, ref: str, spec: VectorSpec, paths: Sequence[Path]) -> None:
        """Read them all.  Wrong, if one is no table, or its columns are not the model's."""
        blocks = []
        for path in paths:
            if not tables.is_table(path):
                known = ", ".join(tables.SUFFIXES)
                raise Wrong(f"{path}: {ref} takes vectors, in files that end in {known}")
            try:
                blocks.append(tables.read(path).rows_of(spec.columns, spec.size))
            except Unprocessable as error:
                raise Wrong(error.detail) from error
        self._rows = np.concatenate(blocks)
        # rows count from 1, as images count files
        self.names = [
            f"{path}:{row}"
            for path, block in zip(paths, blocks, strict=True)
            for row in range(1, len(block) + 1)
        ]

    def __iter__(self) -> Iterator[Array]:
        """Block after block."""
        for start in range(0, len(self._rows), _BLOCK):
            yield self._rows[start : start + _BLOCK]


class Session:
    """One command's bundle and where its results go."""

    def __init__(self, pair: LocalPair) -> None:
        self.pair = pair

    @property
    def manifest(self) -> Manifest:
        return self.pair.manifest

    @property
    def ref(self) -> str:
        return f"{self.manifest.name}@{self.manifest.version}"

    def label(self, given: str | None) -> Any:
        """The number of the class that `--label` names.  Wrong if there is none."""
        try:
            return labels.numbered(self.manifest, {"label": given})
        except ServingError as error:
            raise Wrong(f"--label: {error.detail}") from error

    def source(self, paths: Sequence[Path]) -> "Source | Rows":
        """The images in these files and folders, or the rows of these tables.

        Wrong if there are none to read.
        """
        if self.manifest.image is None:
            assert self.manifest.vector is not None  # the manifest was checked
            return Rows(self.ref, self.manifest.vector, paths)
        return _some(Source(fitted(self.manifest.image), paths), paths)

    def frames(self, paths: Sequence[Path]) -> Source:
        """Images at their own sizes."""
        if self.manifest.image is None:
            raise Wrong(f"{self.ref} takes vectors, not images: there is nothing to cut")
        reading = at_own_size(self.manifest.image.channels)
        return _some(Source(reading, paths, block=_FEW), paths)

    def check_figures(self, out: Path | None, *, as_json: bool) -> None:
        """Say what is wrong with `--out` before any work."""
        if out is None and not as_json:
            raise Wrong("where to? give --out FILE, or --json to print")
        if out is not None:
            files.check_figures(out)

    def check_pictures(self, out: Path) -> None:
        """Say what is wrong with `--out` before any work."""
        if self.manifest.image is None:
            files.check_figures(out)
        else:
            files.check_pictures(out)

    def give(self, figures: Figures, out: Path | None, *, as_json: bool) -> None:
        """Write the figures, print them, or both."""
        if out is not None:
            files.write_figures(out, figures)
        if as_json:
            click.echo(figures.to_json(), nl=False)
        elif out is not None:
            items = "images" if self.manifest.vector is None else "vectors"
            click.echo(f"{out}: {figures.name} of {len(figures.main)} {items}")

    def draw(
        self,
        items: Array,
        out: Path,
        *,
        moving: bool = False,
        fps: float = 12,
        names: Sequence[str] = (),
    ) -> None:
        """Write what a model made: pictures, or the vectors of a model of vectors."""
        if self.manifest.vector is None:
            files.write_pictures(out, items, moving=moving, fps=fps, names=_png_names(names))
            click.echo(f"{out}: {len(items)} images")
            return
        columns = self.manifest.vector.columns or [f"x{i}" for i in range(items.shape[1])]
        files.write_figures(
            out,
            Figures(
                name="vectors",
                main=items,
                columns={name: items[:, i] for i, name in enumerate(columns)},
                document={"model": self.ref, "vectors": items},
            ),
        )
        click.echo(f"{out}: {len(items)} vectors")


@contextlib.contextmanager
def session(path: Path, device: Device) -> Iterator[Session]:
    """The bundle at `path`, opened; what goes wrong inside is said in a sentence."""
    with said():
        check_bundle(path)
        with open_bundle(path, device=device) as pair:
            yield Session(pair)


@contextlib.contextmanager
def said() -> Iterator[None]:
    """Say what goes wrong inside in a sentence."""
    try:
        yield
    except (DeviceError, InputError, WrongOutput) as error:
        raise Wrong(str(error)) from error
    except (BundleError, OSError) as error:
        raise click.ClickException(str(error)) from error
    except ServingError as error:
        raise click.ClickException(error.detail) from error


def check_bundle(path: Path) -> None:
    """Raises Wrong for a folder that is no bundle."""
    if not (path / MANIFEST).exists():
        below = sorted(each.parent for each in path.glob(f"*/{MANIFEST}"))
        meant = f"; name one of those in it, like {below[-1]}" if below else ""
        raise Wrong(f"{path} is no bundle: it has no {MANIFEST}{meant}")


def _some(source: Source, paths: Sequence[Path]) -> Source:
    """The source.  Wrong if there is nothing in it."""
    if not source.names:
        raise Wrong(f"no images in {', '.join(map(str, paths))}")
    return source


def _png_names(names: Sequence[str]) -> list[str]:
    """File names for the pictures made of these; numbered where two would be the same."""
    stems = [Path(name).stem for name in names]
    if len(set(stems)) == len(stems):
        return [f"{stem}.png" for stem in stems]
    return [f"{i:04}-{stem}.png" for i, stem in enumerate(stems)]
