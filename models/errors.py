"""What can go wrong in training, as its user sees it.

ModelError
├── UnknownName   a name is in no table               (also a KeyError)
├── BadConfig     a value, or a pair of them, is wrong (also a ValueError)
├── ShapeError    tensors do not fit together          (also a ValueError)
├── DataError     data cannot be read or used
│   └── NoGroups  nothing says which items belong together
├── RunError      a run directory cannot be used
├── Diverged      a loss or a weight is not finite; carries the step
└── WorkerLost    a run by several processes lost one of them
"""

from collections.abc import Iterable


class ModelError(Exception):
    """Everything this package raises on purpose; its text is one sentence for the user."""


class UnknownName(ModelError, KeyError):
    """`name` is not among the `known` ones of its `kind`."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        self.kind, self.name, self.known = kind, name, sorted(known)
        super().__init__(f"no {kind} named {name!r}; choose from: {', '.join(self.known)}")

    def __str__(self) -> str:  # KeyError would show the repr of the text
        return str(self.args[0])


class BadConfig(ModelError, ValueError):
    """A setting is out of its range, or two settings do not go together."""


class ShapeError(ModelError, ValueError):
    """Two tensors should agree in shape and do not."""


class DataError(ModelError):
    """The data cannot be read, or holds nothing that can be used."""


class NoGroups(DataError):
    """The data does not say which of its items belong to one `group`."""

    def __init__(self, path: str, group: str, why: str) -> None:
        super().__init__(f"{path} has no groups {group!r}: {why}")


class RunError(ModelError):
    """The directory is no run, or a run that cannot be continued or exported."""


class Diverged(ModelError):
    """A loss or a weight is not finite after `step` updates."""

    def __init__(self, step: int, what: str) -> None:
        self.step, self.what = step, what
        super().__init__(f"training diverged at step {step}: {what} is not finite")


class WorkerLost(ModelError):
    """Another process of the run is gone, or the run was told to stop."""

    def __init__(self, what: str) -> None:
        super().__init__(f"{what}: continue from the latest checkpoint with --resume")
