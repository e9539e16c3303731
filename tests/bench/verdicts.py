"""What the node has to reach, as tables, and whether the figures of a run say that it does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from tests.bench import large, still
from tests.bench.figures import Figures, rate
from tests.bench.receivers import (
    FLOOR_FSYNC,
    FORK,
    FORK_RAW,
    NODE_FSYNC,
    NODE_NONE,
    ORTHANC,
    ORTHANC_NONE,
    PYNETDICOM,
    STORESCP,
    Receiver,
)

CT: Final = "CT 525 kB"
MR: Final = "MR 10 kB"
HUGE: Final = "multi-frame 200 MB"


@dataclass(frozen=True, slots=True)
class Verdict:
    """One line of the closing table; ``reached`` is None for what was not measured, ``ok`` for that and for
    what is not promised."""

    line: str
    reached: str | None
    beside: str
    wanted: str
    ok: bool | None


@dataclass(frozen=True, slots=True)
class Ratio:
    """The node's figure has to be ``wanted`` times another's. ``promised`` is False for what it reaches for."""

    line: str
    ours: str
    beside: str
    theirs: str
    wanted: float
    promised: bool = True

    def verdict(self, figures: Figures) -> Verdict:
        """Ratio of the medians."""
        ours, theirs = figures.median(self.ours), figures.median(self.theirs)
        wanted = f"{self.wanted:g} x" if self.promised else f"reach for {self.wanted:g} x"
        if ours is None or not theirs:
            return Verdict(self.line, None, self.beside, wanted, None)
        reached = f"{ours / theirs:.2f} x ({_short(ours)}/s)"
        ok = ours / theirs >= self.wanted
        return Verdict(
            self.line, reached, f"{self.beside} {_short(theirs)}/s", wanted, ok if self.promised else None
        )


@dataclass(frozen=True, slots=True)
class Bound:
    """The node's figure has to stay under ``wanted``; of several repeats the ``worst`` or the median."""

    line: str
    figure: str
    wanted: float
    unit: str
    beside: tuple[str, str] | None = None  # another figure that belongs to it, and its format
    worst: bool = False

    def verdict(self, figures: Figures) -> Verdict:
        reached = figures.worst(self.figure) if self.worst else figures.median(self.figure)
        wanted = f"under {self.wanted:g} {self.unit}"
        if reached is None:
            return Verdict(self.line, None, "", wanted, None)
        also = figures.median(self.beside[0]) if self.beside else None
        beside = self.beside[1].format(also) if self.beside and also is not None else ""
        return Verdict(self.line, f"{reached:.2f} {self.unit}", beside, wanted, reached < self.wanted)


_NOT_PROMISED: Final = (FORK_RAW, ORTHANC_NONE)


def _rates(load: str, associations: int, ours: Receiver, theirs: Receiver, wanted: float) -> Ratio:
    plural = "" if associations == 1 else "s"
    line = f"{load}, {associations} association{plural}, {ours.name.removeprefix('node, ')}"
    mine, other = rate(load, associations, ours), rate(load, associations, theirs)
    return Ratio(line, mine, theirs.name, other, wanted, promised=theirs not in _NOT_PROMISED)


def _indexed(load: str, associations: int) -> Ratio:
    ours, theirs = (large.stored(load, associations, kind) for kind in ("large", "empty"))
    plural = "" if associations == 1 else "s"
    return Ratio(f"large index: {load}, {associations} association{plural}", ours, "empty index", theirs, 0.9)


# Speed, then memory and rest, then a large index.
WANTED: Final[tuple[Ratio | Bound, ...]] = (
    _rates(CT, 1, NODE_NONE, STORESCP, 1.3),
    _rates(CT, 1, NODE_NONE, ORTHANC, 5),
    _rates(CT, 1, NODE_NONE, ORTHANC_NONE, 5),
    _rates(CT, 1, NODE_NONE, PYNETDICOM, 6),
    _rates(CT, 1, NODE_NONE, FORK_RAW, 1),
    _rates(CT, 4, NODE_NONE, FORK, 1.3),
    _rates(CT, 4, NODE_NONE, ORTHANC, 4),
    _rates(CT, 4, NODE_NONE, ORTHANC_NONE, 4),
    _rates(CT, 4, NODE_NONE, FORK_RAW, 1),
    _rates(MR, 1, NODE_NONE, STORESCP, 1.2),
    _rates(MR, 4, NODE_NONE, FORK, 1),
    _rates(MR, 4, NODE_NONE, ORTHANC, 4),
    _rates(MR, 4, NODE_NONE, ORTHANC_NONE, 4),
    _rates(HUGE, 1, NODE_NONE, STORESCP, 5),
    _rates(CT, 1, NODE_FSYNC, FLOOR_FSYNC, 0.85),
    _rates(CT, 4, NODE_FSYNC, FLOOR_FSYNC, 0.85),
    Ratio(
        "associations of one 10 kB object, none",
        still.short_rate(NODE_NONE),
        FORK.name,
        still.short_rate(FORK),
        2,
    ),
    Bound("200 MB objects: growth of all processes", still.HUGE_MB, 16, "MB", worst=True),
    Bound("short associations: growth", still.EMPTY_MB, 20, "MB", (still.EMPTY_RATE, "{:,.0f} a second")),
    Bound("bare connects: growth", still.BARE_MB, 20, "MB", (still.BARE_RATE, "{:,.0f} a second")),
    Bound("100 idle associations", still.IDLE_CPU, 3, "% of a core"),
    Bound(
        "at rest: all processes",
        still.REST_MB,
        150,
        "MB",
        (still.REST_BIGGEST_MB, "RSS of the biggest {:.0f} MB"),
    ),
    Bound("at rest", still.REST_CPU, 1, "% of a core"),
    *(_indexed(load, associations) for load, associations in large.STORED),
    *(
        Bound(f"large index: C-FIND by {name}, p95", large.find_ms(keyword), 50, "ms")
        for keyword, name in large.KEYS.items()
    ),
    Bound("large index: start to ready", large.START_SECONDS, 5, "s"),
)


def verdicts(figures: Figures) -> list[Verdict]:
    """Every line of ``WANTED``, in its order."""
    return [wanted.verdict(figures) for wanted in WANTED]


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}"
