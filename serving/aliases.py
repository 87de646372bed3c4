"""aliases.json of a model folder: further names, each for a model or a version of one.

{"prod": "fashion@1", "shoes": "fashion"}
"""

import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

from serving.bundle import NAME, VERSION
from serving.errors import BundleError

FILE: Final = "aliases.json"
NONE: Final[Mapping[str, str]] = MappingProxyType({})
_MAX_BYTES: Final = 2**20


def read(folder: Path) -> Mapping[str, str]:
    """Each alias with the NAME or NAME@VERSION it stands for; none without the file.

    Raises BundleError, which names the file, if it is malformed.  Whether there are such models
    is not looked at: they may come later.
    """
    path = folder / FILE
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except FileNotFoundError:
        return NONE
    except OSError as error:
        raise BundleError(f"{path} cannot be read: {error.strerror or error}") from error
    try:
        value = json.loads(data) if len(data) <= _MAX_BYTES else None
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{path} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise BundleError(f'{path} must be an object, such as {{"prod": "fashion@1"}}')
    for alias, target in value.items():
        if not NAME.fullmatch(alias) or alias == "default":
            raise BundleError(f"{path}: {alias[:80]!r} is no name for an alias: use a-z, 0-9, _, -")
        if not isinstance(target, str) or not _is_ref(target):
            raise BundleError(f"{path}: {alias} must be NAME or NAME@VERSION, got {target!r:.80}")
        if target.partition("@")[0] in value:
            raise BundleError(f"{path}: {alias} stands for {target}, which is an alias itself")
    return MappingProxyType(value)


def _is_ref(target: str) -> bool:
    name, at, version = target.partition("@")
    return bool(NAME.fullmatch(name)) and (bool(VERSION.fullmatch(version)) if at else True)
