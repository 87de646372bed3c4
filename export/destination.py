"""Where a bundle goes: its name and version from its path, and a folder that is whole or absent."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from export.errors import BadOutput
from serving.bundle import NAME, VERSION

RESERVED: Final = "default"  # what a client writes for the server's own choice


@dataclass(frozen=True, kw_only=True, slots=True)
class Destination:
    """A path that is free, and what the bundle there is to be called."""

    path: Path
    name: str
    version: int


def destination(out: Path, *, name: str | None = None, version: int | None = None) -> Destination:
    """Name and version for a bundle at `out`: the last two parts of its path, NAME/VERSION.

    `name` and `version` are for a path that does not end so; where it does, they must agree.
    Raises BadOutput: nothing to call the bundle, two names for it, or something there already.
    """
    path = Path(os.path.abspath(out))  # not resolved: a link's own name counts
    if os.path.lexists(path):
        raise BadOutput(f"{out} exists: bundles never change in place, choose another version")
    found_name = found_version = None
    if VERSION.fullmatch(path.name):
        found_name, found_version = path.parent.name, int(path.name)
    given = {"name": (name, found_name), "version": (version, found_version)}
    for what, (wanted, found) in given.items():
        if wanted is not None and found is not None and wanted != found:
            raise BadOutput(f"--{what} {wanted} but {out} says {found}: they must be equal")
    name, version = name or found_name, version or found_version
    if name is None or version is None:
        raise BadOutput(
            f"{out} does not end in NAME/VERSION, as in my-models/digits/1: "
            "choose such a path, or give --name and --version"
        )
    if not NAME.fullmatch(name) or name == RESERVED:
        reason = "is reserved" if name == RESERVED else "is none: use a-z, 0-9, _ and -"
        raise BadOutput(f"the name {name!r} {reason}")
    return Destination(path=path, name=name, version=version)


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """A temporary folder beside `path` that becomes `path` when the block ends well.

    After any exception, Ctrl-C included, nothing is left: neither the temporary folder nor
    parents that were made for it.
    """
    made = [parent for parent in path.parents if not parent.exists()]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{path.name}-", suffix=".tmp", dir=path.parent))
    except OSError as error:
        _remove(made)
        raise BadOutput(f"{path} cannot be written: {error}") from error
    try:
        yield folder
        folder.chmod(0o777 & ~_umask())  # mkdtemp made it for one user only
        if os.path.lexists(path):
            raise BadOutput(f"{path} came to exist in the meantime")
        folder.rename(path)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        _remove(made)
        raise


def _remove(parents: list[Path]) -> None:
    """Take away folders made on the way, innermost first; one that others use by now stays."""
    for parent in parents:
        with contextlib.suppress(OSError):
            parent.rmdir()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
