"""What a run directory says, in the words of a bundle."""

import os
import shlex
from pathlib import Path
from typing import Any

from export.graphs import Pair
from models.training.checkpoint import TrainedPair


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
    )


def preprocess_of(trained: TrainedPair) -> dict[str, Any]:
    """How images are brought to the model's size, as in training."""
    data = trained.config.data
    return {"fit": data.fit, "filter": "lanczos", "background": data.background}


def facts_of(trained: TrainedPair, *, command: str) -> dict[str, Any]:
    """The manifest's keys that only the run knows; `command` is what asked for the export."""
    config, found = trained.config.to_dict(), trained.found
    config["data"]["path"] = name_of(config["data"]["path"])
    kept = ("items", "held_out", "device", "torch", "fingerprint")
    return {
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
    """A command line whose absolute paths are cut down to their last part.

    What follows "  # " is a remark and stays as it is.
    """
    typed, mark, remark = command.partition("  # ")
    words = (Path(w).name if os.path.isabs(w) else w for w in shlex.split(typed))
    return shlex.join(words) + mark + remark
