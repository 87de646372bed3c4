"""Bundles in BentoML's model store: `bento:NAME` or `bento:NAME:VERSION` in the place of a path."""

import os
from pathlib import Path
from typing import Final

PREFIX: Final = "bento:"


class NotInStore(ValueError):
    """The store has no such model, said in one sentence."""


def located(models: str | Path) -> Path:
    """The folder that is meant: a model's in the store for `bento:...`, else the path itself.

    Raises NotInStore.
    """
    text = str(models)
    if not text.startswith(PREFIX):
        return Path(models)
    os.environ.setdefault("BENTOML_DO_NOT_TRACK", "True")
    import bentoml  # a second of imports that nobody else needs to wait for

    try:
        return Path(bentoml.models.get(text.removeprefix(PREFIX)).path)
    except (bentoml.exceptions.BentoMLException, ValueError) as error:  # not there; not a tag
        raise NotInStore(f"{text}: {error}") from error
