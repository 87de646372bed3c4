"""Everything that export/ says no with; each message is one sentence.

ExportError             a bundle or a report cannot be made
├── BadOutput           the place to write to will not do: it exists, or its name is none
├── BadNetworks         the networks cannot be exported: not deterministic, wrong support, shape
├── BadForeign          networks trained elsewhere cannot be had, or do not fit each other
├── ParityFailure       the written graphs do not answer as torch does; says where and by how much
└── BadData             the data cannot be used for what was asked
"""

from collections.abc import Sequence


class ExportError(Exception):
    """A bundle or a report cannot be made."""


class BadOutput(ExportError):
    """The place to write to will not do."""


class BadNetworks(ExportError):
    """These networks cannot become a bundle."""


class BadForeign(ExportError):
    """These networks, trained elsewhere, cannot become a bundle."""


class BadData(ExportError):
    """The data cannot be used for what was asked."""


class ParityFailure(ExportError):
    """The written graphs do not answer as torch does.

    `failures` holds one clause per output that is off: which, by how much, and what is allowed.
    """

    def __init__(self, failures: Sequence[str]) -> None:
        self.failures = tuple(failures)
        super().__init__("the exported graphs differ from torch: " + "; ".join(failures))
