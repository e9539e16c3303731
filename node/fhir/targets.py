"""The targets that a study can be published as: one row each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final, Literal, NamedTuple

from node.documents import Need
from node.fhir import check, dstu1, imagingselection, imr, osiris, r5
from node.fhir.options import FhirOptions
from node.fhir.table import Built, Page
from node.model import Finding, Study

Resource = dict[str, Any]


def _none(_: Study, __: FhirOptions) -> tuple[Finding, ...]:
    return ()


class Profile(NamedTuple):
    """A target.

    ``kind`` is the event type's word for the resource, ``fhir_version`` the content type's parameter.
    ``build`` gives the resources of a study: exactly one for an ImagingStudy, any number of selections.
    ``check`` raises ResourceInvalid. ``missing`` gives key and message of each configuration key that the
    target can't do without. ``page`` is its documentation. ``findings`` is what this target alone finds amiss.
    """

    name: str
    kind: Literal["imagingstudy", "imagingselection"]
    fhir_version: str
    needs: frozenset[Need]
    build: Callable[[Study, FhirOptions], Sequence[Built]]
    check: Callable[[Mapping[str, Any]], None]
    missing: Callable[[FhirOptions], Iterator[tuple[str, str]]]
    page: Page
    findings: Callable[[Study, FhirOptions], tuple[Finding, ...]] = _none


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
        Profile(
            "imr",
            "imagingstudy",
            "4.0",
            frozenset({"rejections"}),
            _study(imr.build),
            partial(check.check, "imr"),
            imr.missing,
            imr.PAGE,
        ),
        Profile(
            "osiris",
            "imagingstudy",
            "4.0",
            frozenset({"settings", "rejections"}),
            _study(osiris.build),
            partial(check.check, "osiris"),
            osiris.missing,
            osiris.PAGE,
            osiris.findings,
        ),
        Profile(
            "dstu1",
            "imagingstudy",
            "0.0",
            frozenset(),
            _study(dstu1.build),
            partial(check.check, "dstu1"),
            _nothing,
            dstu1.PAGE,
        ),
        Profile(
            "imagingselection",
            "imagingselection",
            "5.0",
            frozenset({"documents"}),
            imagingselection.build,
            partial(check.check, "imagingselection"),
            _nothing,
            imagingselection.PAGE,
            imagingselection.findings,
        ),
    )
}
