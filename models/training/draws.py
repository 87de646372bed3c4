"""Random rows that come from another generator, or out of a larger batch, than the code names.

Pairings and penalties draw one row of numbers per row of their batch.  Where a process holds a part
of a batch, or a batch holds several runs, what is drawn must still be what each row would have got.
"""

from abc import abstractmethod
from collections.abc import Callable, Iterable
from typing import Any, Final

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

Draw = Callable[[int, torch.Generator], Tensor]  # so many rows, from this generator
DRAWS: Final = (torch.rand, torch.randn, torch.randint)


class RowDraws(TorchFunctionMode):
    """While it is entered, `rows` decides what torch draws from a generator.

    The first number of a shape must count the rows of a batch.
    """

    @abstractmethod
    def rows(self, draw: Draw, count: int, rng: torch.Generator) -> Tensor:
        """What is drawn for a batch of `count` rows, where `rng` was named."""

    def __torch_function__(
        self, func: Any, types: Iterable[type], args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Torch's own, but for draws from a generator."""
        kwargs = kwargs or {}
        if func not in DRAWS or "generator" not in kwargs:
            return func(*args, **kwargs)
        rng, kwargs = kwargs["generator"], {k: v for k, v in kwargs.items() if k != "generator"}
        bounds, shape = (args[:2], args[2:]) if func is torch.randint else ((), args)
        count, *rest = shape[0] if len(shape) == 1 and not isinstance(shape[0], int) else shape

        def draw(count: int, rng: torch.Generator) -> Tensor:
            drawn: Tensor = func(*bounds, (count, *rest), generator=rng, **kwargs)
            return drawn

        return self.rows(draw, count, rng)
