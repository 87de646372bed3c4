"""What a run directory says, in the words of a bundle."""

import os
import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from export.graphs import Pair
from models.datasets.scaling import Scaling
from models.training.checkpoint import TrainedPair
from serving.bundle import VERSION, VectorSpec
from serving.images import ImageSpec

ASSIGNED: Final = re.compile(r"(?P<key>-*[A-Za-z][\w.-]*)=(?P<value>.*)", re.DOTALL)


def pair_of(trained: TrainedPair) -> Pair:
    """The networks of a run, with the shapes its config gives them."""
    model = trained.config.model
    # ModelConfig has checked that exactly one of the two is there
    shape = model.image if model.image is not None else (model.vector or 0,)
    return Pair(
        encoder=trained.encoder,
        generator=trained.generator,
        shape=tuple(shape),
        latent=model.latent,
        prior=model.prior,
        categorical=model.categorical,
        classes=model.classes,
        columns=tuple(trained.found.get("columns", ())),
        scaling=scaling_of(trained.found),
        judge=trained.judge,
    )


def scaling_of(found: Mapping[str, Any]) -> Scaling | None:
    """How the networks of a run see vectors, by what the run has found."""
    return Scaling.of_dict(found["scaling"]) if "scaling" in found else None


def spec_of(trained: TrainedPair) -> ImageSpec | VectorSpec:
    """What a run's pair takes, as its bundle says it."""
    pair = pair_of(trained)
    if pair.is_image:
        height, width, channels = pair.shape
        return ImageSpec(height=height, width=width, channels=channels, **preprocess_of(trained))
    return vector_spec(pair)


def vector_spec(pair: Pair) -> VectorSpec:
    """What a pair of vectors takes."""
    scale = None if pair.scaling is None else pair.scaling.scale
    return VectorSpec(size=pair.shape[0], columns=pair.columns, scale=scale)


def preprocess_of(trained: TrainedPair) -> dict[str, Any]:
    """How images are brought to the model's size, as in training."""
    data = trained.config.data
    return {"fit": data.fit, "filter": "lanczos", "background": data.background}


def facts_of(trained: TrainedPair, *, command: str) -> dict[str, Any]:
    """The manifest's keys that only the run knows; `command` is what asked for the export."""
    config, found = trained.config.to_dict(), trained.found
    config["data"]["path"] = name_of(config["data"]["path"])
    kept = ("items", "held_out", "device", "torch", "fingerprint")
    named = {"classes": list(found["classes"])} if trained.config.model.classes else {}
    return named | {
        "pairing": trained.config.model.pairing,
        "objective": trained.config.model.objective,
        "training": {
            "config": config,
            "data": config["data"]["path"],
            "data_classes": list(found.get("classes", ())),
            "licence": trained.config.data.licence,
            "steps": trained.step,
            "seconds": round(trained.seconds, 1),
            **{key: found[key] for key in kept if key in found},
            "commands": [without_folders(each) for each in found.get("commands", ())],
            "export": without_folders(command),
        },
    }


def name_of(data: str) -> str:
    """What data is called in a bundle: a bundle travels, and no folder of this machine with it."""
    return Path(data).name or data


def without_folders(command: str) -> str:
    """A command line that names no folder of this machine, typed as such or after a "=".

    Paths that leave the folder it was typed in are cut down to their last part; where a bundle
    is written, to NAME/VERSION.  What follows "  # " is a remark and stays as it is.
    """
    typed, mark, remark = command.partition("  # ")
    return shlex.join(_without_folders(shlex.split(typed))) + mark + remark


def _without_folders(words: list[str]) -> Iterator[str]:
    exports = words[:2] == ["biject", "export"]
    for index, word in enumerate(words):
        written = words[index - 1] == "--write" or (exports and index == 3)  # export RUN OUT
        yield _cut(word, written=written)


def _cut(word: str, *, written: bool) -> str:
    """The last part of a path that leaves this folder, also of one behind a "=".

    Of a bundle that is `written`, the last two.
    """
    if assigned := ASSIGNED.fullmatch(word):
        key, value = assigned.group("key", "value")
        return f"{key}={_cut(value, written=key == '--write')}"
    if len(word) > 1 and word[0] == word[-1] and word[0] in "'\"":  # a string in TOML
        return word[0] + _cut(word[1:-1], written=written) + word[0]
    path = os.path.normpath(word)
    if not (os.path.isabs(path) or path.startswith("~") or path.split(os.sep)[0] == os.pardir):
        return word
    parts = [part for part in Path(path).parts if part not in (os.sep, os.pardir)]
    is_bundle = written and parts and VERSION.fullmatch(parts[-1])
    return os.sep.join(parts[-2:] if is_bundle else parts[-1:]) or path
