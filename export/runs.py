"""What a run directory says, in the words of a bundle."""

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
    config, found = trained.config, trained.found
    kept = ("items", "held_out", "device", "torch", "command", "fingerprint")
    return {
        "pairing": config.model.pairing,
        "objective": config.model.objective,
        "training": {
            "config": config.to_dict(),
            "data": config.data.path,
            "data_classes": list(found.get("classes", ())),
            "licence": config.data.licence,
            "steps": trained.step,
            "seconds": round(trained.seconds, 1),
            **{key: found[key] for key in kept if key in found},
            "export": command,
        },
    }
