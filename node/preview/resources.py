"""Studies of files -> resources: assembled, completed, built and checked by what publication uses."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from node import assemble
from node.contents import ContentReader, Contents
from node.errors import ResourceInvalid
from node.fhir.options import FhirOptions
from node.fhir.targets import Profile
from node.holding import reason_to_hold
from node.model import Finding, Study
from node.preview.files import Gathered, StudyFiles

Resource = dict[str, Any]


class Preview(NamedTuple):
    """One study: its resources that would be published, why others would not be, what is amiss in its data."""

    study: str
    resources: list[Resource]
    faults: list[str]
    findings: tuple[Finding, ...]


def previews(gathered: Gathered, profile: Profile, options: FhirOptions, check: bool) -> Iterator[Preview]:
    """A preview for each study, in the order of their first files; one study is in memory at a time.

    Without ``check`` everything that can be built is given, also what would be held or parked. Raises
    ``ContentReaderUnavailable``.
    """
    with ContentReader() as reader:
        contents = Contents(gathered, reader, gathered.locate)
        for files in gathered.studies.values():
            try:
                study = contents.fill(_assembled(files), profile.needs)
            except OSError as error:  # it could be read a moment ago
                yield Preview(files.uid, [], [f"a file can't be read: {error.strerror}"], ())
            else:
                yield _preview(study, profile, options, check)


def _assembled(files: StudyFiles) -> Study:
    return assemble.study(files.uid, files.headers, files.rows())


def _preview(study: Study, profile: Profile, options: FhirOptions, check: bool) -> Preview:
    found = Preview(study.uid, [], [], (*study.findings, *profile.findings(study, options)))
    held = reason_to_hold(study, options) if check else None
    if held is not None:
        found.faults.append(f"the node would hold it: {held.rule}")
        return found
    try:
        built = profile.build(study, options)
    except ResourceInvalid as error:
        found.faults.append(str(error))
        return found
    for one in built:
        try:
            if check:
                profile.check(one.resource)
        except ResourceInvalid as error:
            found.faults.append(str(error))
        else:
            found.resources.append(one.resource)
    return found
