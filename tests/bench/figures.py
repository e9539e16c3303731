"""What the bench has measured so far, by name, and what a section needs to measure more."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from tests.bench.receivers import Receiver


class Figures:
    """Name -> one value a repeat."""

    def __init__(self) -> None:
        self.values: dict[str, list[float]] = defaultdict(list)

    def add(self, name: str, value: float) -> None:
        self.values[name].append(value)

    def median(self, name: str) -> float | None:
        """None when it was not measured."""
        found = self.values.get(name)
        return statistics.median(found) if found else None

    def worst(self, name: str) -> float | None:
        """The largest, None when it was not measured."""
        return max(self.values.get(name, ()), default=None)


@dataclass(frozen=True, slots=True)
class Bench:
    """One run of the bench: ``folder`` goes when it ends, ``data_sets`` are the recorded loads by name."""

    folder: Path
    data_sets: dict[str, Path]
    quick: bool
    figures: Figures = field(default_factory=Figures)


class Section(NamedTuple):
    """Lines that are not a table of receivers. ``work`` measures one repeat; ``once``: the first is enough.
    ``prepare`` comes before everything that is measured: the disk has digested it by then."""

    name: str
    needs: tuple[Receiver, ...]
    once: bool
    work: Callable[[Bench], None]
    prepare: Callable[[Bench], None] = lambda bench: None


def rate(load: str, associations: int, receiver: Receiver) -> str:
    """The figure that holds objects a second."""
    return f"{load}, {associations}: {receiver.name}"
