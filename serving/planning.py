"""How much hardware a demand needs, worked out from the costs that a server has measured.

A row of a batch takes seconds(most) / most of one engine thread, a core on a CPU, a GPU on CUDA;
what an image costs besides (HTTP, decoding, JSON) is a core's work on either.
"""

import json
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any, Final

from serving.costs import HANDLING, Costs, points_of

DAY: Final = 86_400.0  # seconds
ONCE_LOAD: Final = 0.9  # of the hardware: nobody waits for an answer, so it may be nearly full


class BadTable(ValueError):
    """A file is no table of measured costs; the message says why."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """What a server measured of one bundle, with every engine thread at work.

    Attributes:
        model: NAME@VERSION.
        device: "cpu" or "cuda".
        workers: Engine threads that ran at once: cores on a CPU, 1 on CUDA.
        costs: Seconds of batches.
    """

    model: str
    device: str
    workers: int
    costs: Costs

    @classmethod
    def read(cls, file: Path) -> "Table":
        """The table in a file of the costs' cache.  Raises BadTable."""
        try:
            document = json.loads(file.read_text(encoding="utf-8"))
            return cls(
                model=str(document["model"]),
                device=str(document["device"]),
                workers=int(document["workers"]),
                costs=Costs(points=points_of(document)),
            )
        except OSError as error:
            raise BadTable(f"{file} cannot be read: {error.strerror or error}") from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            why = f"it has no {error}" if isinstance(error, KeyError) else str(error)
            raise BadTable(f"{file} is no table that a server has kept: {why}") from error


@dataclass(frozen=True, kw_only=True, slots=True)
class Capacity:
    """What one unit, a core or a GPU, does of one graph at full load.

    Attributes:
        rows: Of the best batch.
        images: A second, of the graph alone.
        served: A second, everything included; on a GPU, equal to `images`.
        cores: Kept busy by what is not the graph, for each unit; 0 on a CPU, where it is included.
    """

    rows: int
    images: float
    served: float
    cores: float


def capacity(table: Table, graph: str, image_seconds: float) -> Capacity:
    """Of one unit.  `image_seconds` is a core's time for an image outside of the graph."""
    rows = table.costs.most(graph)
    row = (table.costs.seconds(graph, rows) + HANDLING) / rows
    if table.device == "cpu":
        return Capacity(rows=rows, images=1 / row, served=1 / (row + image_seconds), cores=0.0)
    return Capacity(rows=rows, images=1 / row, served=1 / row, cores=image_seconds / row)


@dataclass(frozen=True, kw_only=True, slots=True)
class Need:
    """What a demand comes to.

    Attributes:
        demand: In words.
        images: A second, at the peak; of work done once, what all units do together.
        units: Cores or GPUs, at the load that was asked for.
        cores: Beside GPUs.
        hours: Of work done once, on these units; else None.
    """

    demand: str
    images: float
    units: int
    cores: int
    hours: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {name: getattr(self, name) for name in self.__slots__}


def steady(demand: str, images: float, of: Capacity, load: float) -> Need:
    """Units for so many images a second, none of them busier than `load` (0 to 1)."""
    units = ceil(images / (of.served * load))
    return Need(demand=demand, images=images, units=units, cores=ceil(units * of.cores))


def once(demand: str, images: float, of: Capacity, units: int) -> Need:
    """How long so many units are at it."""
    rate = of.served * units * ONCE_LOAD
    hours = images / rate / 3600
    cores = ceil(units * of.cores)
    return Need(demand=demand, images=rate, units=units, cores=cores, hours=hours)
