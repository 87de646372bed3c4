"""One version of one model: where it is, what state it is in, what it computes with."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from serving.batching import Batcher
from serving.bundle import Bundle, Manifest
from serving.engine import Engine
from serving.errors import NotReady
from serving.tally import Tally

State = Literal["loading", "ready", "failed", "unloaded"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Loaded:
    """What a ready model computes with."""

    bundle: Bundle
    engine: Engine
    batcher: Batcher
    tally: Tally


@dataclass(kw_only=True, slots=True, eq=False)
class Model:
    """One version of one model, from the time it is found until it is unloaded.

    What is ready stays ready: unloading and replacing put another `Model` in its place in the
    registry, so that a request that began with this one ends with it.  Touched on the event loop
    only, but for `state`, `reason`, `bundle` and `loaded`, which whoever loads it sets.
    """

    name: str
    version: int
    path: Path
    state: State = "loading"
    reason: str = ""  # why it failed or is not loaded; why a newer copy did not replace it
    bundle: Bundle | None = None  # as last read
    loaded: Loaded | None = None
    resting: bool = False  # not loaded for want of room: the next request loads it
    unwanted: bool = False  # an administrator unloaded it
    users: int = 0  # requests at hand that began with it
    pausing: int = 0  # of these, streams that have nothing to compute until somebody reads on
    displaced: bool = False  # another took its room: who pauses has it loaded again
    used: float = 0.0  # when one last began, by time.monotonic()

    @property
    def ref(self) -> str:
        return f"{self.name}@{self.version}"

    @property
    def answers(self) -> bool:
        """Whether it may answer for the bare name."""
        return self.loaded is not None or self.resting

    @property
    def ready(self) -> Loaded:
        """What it computes with.  Raises NotReady while it is not loaded, and says why."""
        if self.loaded is None:
            why = {
                "failed": f"failed to load: {self.reason}",
                "unloaded": f"is not loaded: {self.reason}",
            }.get(self.state, "is loading")
            raise NotReady(f"model {self.ref} {why}", retry_after=2)
        return self.loaded

    @property
    def manifest(self) -> Manifest:
        return self.ready.bundle.manifest

    def unloaded(self, reason: str, *, resting: bool) -> "Model":
        """What takes its place once it is unloaded."""
        return Model(
            name=self.name,
            version=self.version,
            path=self.path,
            state="unloaded",
            reason=reason,
            bundle=self.bundle,
            resting=resting,
            unwanted=not resting,
            used=self.used,
        )
