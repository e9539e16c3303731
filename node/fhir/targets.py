"""The targets that a study can be published as: one row each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final, NamedTuple

from node.fhir import check, r5
from node.fhir.options import FhirOptions
from node.model import Study

Resource = dict[str, Any]


class Profile(NamedTuple):
    """A target: ``build`` makes the resource, ``check`` raises ResourceInvalid.

    ``kind`` is the event type's word for the resource, ``fhir_version`` the content type's parameter.
    """

    name: str
    kind: str
    fhir_version: str
    build: Callable[[Study, FhirOptions], Resource]
    check: Callable[[Mapping[str, Any]], None]


PROFILES: Final[dict[str, Profile]] = {
    row.name: row
    for row in (
        Profile(
            "r5",
            "imagingstudy",
            "5.0",
            r5.build,
            partial(check.check, "r5"),
        ),
    )
}
