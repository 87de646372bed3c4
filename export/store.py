"""Bundles into BentoML's model store, as NAME:VERSION."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from export.destination import Destination, destination
from export.errors import BadOutput
from serving.bundle import VERSION
from serving.store import PREFIX

LABELS: Final = {"made-by": "biject"}


@contextmanager
def placed(
    out: Path | None, *, name: str | None, version: int | None, to_store: bool
) -> Iterator[Destination]:
    """Where a bundle is to be written: at `out`, into the store when the block ends well, or both.

    For the store alone a name is wanted; the version is by default the next one there.
    Raises BadOutput: neither is given, nothing to call the bundle, or it is there already.
    """
    if out is not None and not to_store:
        yield destination(out, name=name, version=version)
        return
    if not to_store:
        raise BadOutput("where to? give OUT, --store, or both")
    if out is not None:
        place = destination(out, name=name, version=version)
        _check_free(place)
        yield place
        _put(place)
        return
    if name is None:
        raise BadOutput("in the store a bundle needs a name: give --name")
    with tempfile.TemporaryDirectory(prefix="biject-") as folder:
        chosen = _next(name) if version is None else version
        place = destination(Path(folder) / name / str(chosen))
        _check_free(place)
        yield place
        _put(place)


def tag_of(place: Destination) -> str:
    """What `biject serve` takes for it."""
    return f"{PREFIX}{place.name}:{place.version}"


def _store() -> Any:
    os.environ.setdefault("BENTOML_DO_NOT_TRACK", "True")
    import bentoml  # a second of imports that export alone does not need

    return bentoml


def _versions(name: str) -> list[str]:
    bentoml = _store()
    try:
        return [model.tag.version or "" for model in bentoml.models.list(name)]
    except bentoml.exceptions.NotFound:
        return []
    except ValueError as error:  # our names may end in - or _
        raise BadOutput(f"{name} is no name for the model store: {error}") from error


def _next(name: str) -> int:
    numbers = [int(version) for version in _versions(name) if VERSION.fullmatch(version)]
    return max(numbers, default=0) + 1


def _check_free(place: Destination) -> None:
    if str(place.version) in _versions(place.name):
        raise BadOutput(
            f"{tag_of(place)} is in the model store: bundles never change in place, choose another "
            "version"
        )


def _put(place: Destination) -> None:
    """Copy the finished bundle into the store, where it appears whole."""
    tag = f"{place.name}:{place.version}"
    with _store().models.create(tag, labels=LABELS) as model:
        shutil.copytree(place.path, model.path, dirs_exist_ok=True)
