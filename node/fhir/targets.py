"""The targets that a study can be published as: one row each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final, Literal, NamedTuple

from node.fhir import check, r5
from node.fhir.options import FhirOptions
from node.fhir.table import Page
from node.model import Study

Resource = dict[str, Any]

# What a target needs of the stored files, beside what the index knows: the imaging settings of each series,
# everything that documents contain, or only whether key object documents take images back.
Need = Literal["settings", "documents", "rejections"]


class Built(NamedTuple):
    """One resource of a study. ``source`` and ``item`` say what of the study it is made from: the SOP Instance
    UID of a document and a place in it; both are empty for the study as a whole."""

    resource: Resource
    source: str = ""
    item: str = ""


class Profile(NamedTuple):
    """A target.

    ``kind`` is the event type's word for the resource, ``fhir_version`` the content type's parameter.
    ``build`` gives the resources of a study: exactly one for an ImagingStudy, any number of selections.
    ``check`` raises ResourceInvalid. ``missing`` gives key and message of each configuration key that the
    target can't do without. ``page`` is its documentation.
    """

    name: str
    kind: Literal["imagingstudy", "imagingselection"]
    fhir_version: str
    needs: frozenset[Need]
    build: Callable[[Study, FhirOptions], Sequence[Built]]
    check: Callable[[Mapping[str, Any]], None]
    missing: Callable[[FhirOptions], Iterator[tuple[str, str]]]
    page: Page


def _study(
    build: Callable[[Study, FhirOptions], Resource],
) -> Callable[[Study, FhirOptions], Sequence[Built]]:
    def one(study: Study, options: FhirOptions) -> Sequence[Built]:
        return (Built(build(study, options)),)

    return one


def _nothing(_: FhirOptions) -> Iterator[tuple[str, str]]:
    return iter(())


PROFILES: Final[dict[str, Profile]] = {
    row.name: row
    for row in (
        Profile(
            "r5",
            "imagingstudy",
            "5.0",
            frozenset({"rejections"}),
            _study(r5.build),
            partial(check.check, "r5"),
            _nothing,
            r5.PAGE,
        ),
    )
}
