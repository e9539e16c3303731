"""A target as tables: one row an element, which builds the resource and is its documentation at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, Literal, NamedTuple, TypeVar

from node.fhir.datatypes import DATA_ABSENT, Json

S = TypeVar("S")
C = TypeVar("C")


@dataclass(frozen=True, slots=True)
class Absent:
    """A primitive that must be there and whose value nobody knows: ``_name`` with data-absent-reason."""

    why: Literal["unknown", "not-applicable", "masked"] = "unknown"

    def element(self) -> Json:
        """The member that FHIR's JSON has beside a primitive without value."""
        return {"extension": [{"url": DATA_ABSENT, "valueCode": self.why}]}


UNKNOWN: Final = Absent()


class Row(NamedTuple, Generic[S, C]):
    """One element of a target.

    ``card`` is the target's cardinality, ``source`` the DICOM attributes (or configuration keys) in the order
    in which they are asked, ``rule`` what is done with them, ``value`` does it: it takes the subject and the
    context and gives JSON, ``Absent``, or None (also: empty) when the element is left out.
    """

    element: str
    card: str
    source: str
    rule: str
    value: Callable[[S, C], Any]


def fill(rows: Sequence[Row[S, C]], subject: S, context: C) -> Json:
    """The members that ``rows`` give for ``subject``, in their order; FHIR has no null and nothing empty."""
    found: Json = {}
    for element, _, _, _, value in rows:
        given = value(subject, context)
        if given or type(given) is int:
            if type(given) is Absent:
                found["_" + element] = given.element()
            else:
                found[element] = given
    return found


class Built(NamedTuple):
    """One resource of a study. ``source`` and ``item`` say what of the study it is made from: the SOP Instance
    UID of a document and a place in it; both are empty for the study as a whole."""

    resource: Json
    source: str = ""
    item: str = ""


class Section(NamedTuple):
    """One table of a target's documentation: the path of its elements, and the rows."""

    path: str
    rows: Sequence[Row[Any, Any]]


class Page(NamedTuple):
    """What a consumer reads about a target: ``node/fhir/pages.py`` writes it out."""

    title: str
    about: str
    sections: Sequence[Section]
