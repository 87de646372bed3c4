"""The bundle: a trained pair of networks on disk, as export writes it and the engine reads it.

    manifest.json   encode.onnx   decode.onnx   reconstruct.onnx   score.onnx   weights.bin   ...

The reader owns the format.  `read` hands out a bundle only after it has looked at every file that
the manifest names; what it refuses, it refuses in one sentence that names the file.
"""

import contextlib
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from io import BufferedReader
from pathlib import Path
from typing import Any, Final, NamedTuple

from serving.errors import BundleError
from serving.images import ImageSpec
from serving.manifest import FORMAT, NAME, LatentSpec, Manifest, Prior, ScoreSpec, VectorSpec
from serving.signatures import FileInfo, GraphInfo, TensorInfo

__all__ = [
    "FORMAT",
    "MANIFEST",
    "NAME",
    "VERSION",
    "Bundle",
    "FileInfo",
    "Found",
    "GraphInfo",
    "LatentSpec",
    "Manifest",
    "Prior",
    "ScoreSpec",
    "TensorInfo",
    "VectorSpec",
    "find_bundles",
    "read",
    "sha256_of",
]

MANIFEST: Final = "manifest.json"
VERSION: Final = re.compile(r"[1-9][0-9]{0,17}")
_MAX_MANIFEST_BYTES: Final = 256 << 20  # calibration scores make it long; a mistake longer


@dataclass(frozen=True, kw_only=True, slots=True)
class Bundle:
    """An opened bundle: its files were there and whole when `read` looked."""

    path: Path
    manifest: Manifest
    sizes: Mapping[str, int] = field(default_factory=dict, compare=False)  # bytes of each file

    def contents(self) -> dict[str, bytes]:
        """The bytes of every file that the manifest names, by the name it gives.

        Each is checked as these very bytes: whatever is written into the folder afterwards, or was
        since `read` looked, changes nothing of what is made of them.
        Raises BundleError, which names the file, if one is missing or damaged.
        """
        found = {}
        for file, sha256 in _files(self.manifest):
            with _readable(self.path / file) as opened:
                found[file] = opened.read()
            _check(self.path / file, hashlib.sha256(found[file]).hexdigest(), sha256)
        return found

    def graph_file(self, name: str) -> Path:
        """The ONNX file of a graph.  Raises KeyError if the bundle has no such graph."""
        return self.path / self.manifest.graphs[name].file

    @property
    def image_spec(self) -> ImageSpec:
        """What images are brought to.  Raises BundleError for a bundle of vectors."""
        if self.manifest.image is None:
            raise BundleError(f"{self.path} takes vectors, not images")
        return self.manifest.image


class Found(NamedTuple):
    """A bundle directory in a model folder, not yet opened."""

    name: str
    version: int
    path: Path


def read(path: Path, *, name: str | None = None, version: int | None = None) -> Bundle:
    """The bundle in this directory, every file checked against its hash.

    Args:
        path: The directory that holds manifest.json.
        name: What the model folder calls it; the manifest must agree.
        version: Likewise.
    Raises:
        BundleError: a file is missing, damaged or does not fit the others.
    """
    manifest = _read_manifest(path / MANIFEST)
    for key, wanted, found in (
        ("name", name, manifest.name),
        ("version", version, manifest.version),
    ):
        if wanted is not None and wanted != found:
            raise BundleError(f"{path / MANIFEST}: {key} is {found}, but the folder says {wanted}")
    sizes = {}
    for file, sha256 in _files(manifest):
        with _readable(path / file) as opened:
            _check(path / file, hashlib.file_digest(opened, "sha256").hexdigest(), sha256)
            sizes[file] = opened.tell()
    return Bundle(path=path, manifest=manifest, sizes=sizes)


def find_bundles(folder: Path) -> list[Found]:
    """The bundles in a model folder, NAME/VERSION each, sorted by name, then version.

    A folder that is itself a bundle is found as the one its manifest names.  Hidden folders and
    those that export is still writing are passed over.  Nothing is opened otherwise, so one that
    is damaged is found too.
    Raises BundleError if the folder is not there, or is a bundle whose manifest cannot be read.
    """
    if not folder.is_dir():
        raise BundleError(f"{folder} is not a directory")
    if (folder / MANIFEST).exists():
        manifest = _read_manifest(folder / MANIFEST)
        return [Found(manifest.name, manifest.version, folder)]
    return sorted(
        Found(path.parent.name, int(path.name), path)
        for path in folder.glob("*/*")
        if NAME.fullmatch(path.parent.name) and VERSION.fullmatch(path.name) and path.is_dir()
    )


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_manifest(path: Path) -> Manifest:
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_MANIFEST_BYTES + 1)
    except OSError as error:
        raise BundleError(f"{path} cannot be read: {error.strerror or error}") from error
    if len(data) > _MAX_MANIFEST_BYTES:
        raise BundleError(f"{path} is longer than {_MAX_MANIFEST_BYTES:,} bytes")
    try:
        value = json.loads(data, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:  # bad JSON, or bytes that are no UTF-8
        raise BundleError(f"{path} is not JSON: {error}") from error
    try:
        return Manifest.parse(value)
    except BundleError as error:
        raise BundleError(f"{path}: {error}") from error


def _no_constant(text: str) -> Any:
    """Python reads NaN and Infinity, which are no JSON and could not be sent on."""
    raise ValueError(f"{text} is no JSON number")


def _files(manifest: Manifest) -> list[tuple[str, str]]:
    """Name and SHA-256 of each file of the bundle but the manifest."""
    files = {(graph.file, graph.sha256) for graph in manifest.graphs.values()}
    if manifest.weights is not None:
        files.add((manifest.weights.file, manifest.weights.sha256))
    return sorted(files)


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[BufferedReader]:
    """The file, open.  Raises BundleError if it cannot be read."""
    try:
        with path.open("rb") as file:
            yield file
    except OSError as error:
        raise BundleError(f"{path} cannot be read: {error.strerror or error}") from error


def _check(path: Path, found: str, sha256: str) -> None:
    if found != sha256:
        raise BundleError(
            f"{path} is damaged: its SHA-256 is {found[:12]}..., the manifest says {sha256[:12]}..."
        )
