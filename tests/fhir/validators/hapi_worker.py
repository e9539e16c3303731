"""The child process of ``hapi.py``: a Java VM with HAPI's FhirValidator, asked over standard input.

    python hapi_worker.py JARS DEFINITIONS

JARS is the folder of ``pom.xml``'s jars, DEFINITIONS the shared ``fhir/data``. One request a line:
``{"version": "5.0", "resource": {...}, "profile": URL or null}``; one answer a line: a list of
``[severity, location, message]``. Its own file, because a Java VM can't be ended without ending its process.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import jpype  # type: ignore[import-untyped]

# FHIR version -> HAPI's context, and the folders of definitions beside those of FHIR itself; of one URL the last
# counts: the published page's profiles before those that upstream has added since.
CONTEXTS: Final = {
    "4.0": ("forR4", ("imr", "osiris", "dicom-terminology")),
    "5.0": ("forR5", ("dicom-sr/head", "dicom-sr/page-2025-05-01", "dicom-terminology")),
}
CONFORMANCE: Final = ("StructureDefinition", "ValueSet", "CodeSystem")
# These call themselves complete and are not: Osiris lists 387 codes of SNOMED CT, all others would be unknown.
FRAGMENTS: Final = ("http://snomed.info/sct",)
# Quick to start rather than quick in the long run: a session asks a few hundred times.
JAVA: Final = ("-Xmx2g", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")


def definitions(folders: Iterable[Path]) -> Iterator[str]:
    """The conformance resources in the folders, as JSON."""
    found: dict[tuple[str, str], Any] = {}
    for path in (path for folder in folders for path in sorted(folder.glob("*.json"))):
        resource = json.loads(path.read_bytes())
        if not isinstance(resource, dict) or resource.get("resourceType") not in CONFORMANCE:
            continue
        if resource["resourceType"] == "CodeSystem" and resource["url"] in FRAGMENTS:
            resource["content"] = "fragment"
        found[resource["resourceType"], resource["url"]] = resource
    return map(json.dumps, found.values())


def validator(version: str, data: Path) -> Any:
    """HAPI's FhirValidator of one FHIR version, with all profiles of ``data`` that are of that version."""
    hapi = jpype.JPackage("ca").uhn.fhir.context
    module = jpype.JPackage("org").hl7.fhir.common.hapi.validation
    make, folders = CONTEXTS[version]
    context = getattr(hapi.FhirContext, make)()
    ours = module.support.PrePopulatedValidationSupport(context)
    parser = context.newJsonParser()
    for text in definitions(data / folder for folder in folders):
        ours.addResource(parser.parseResource(text))
    unknown = module.support.UnknownCodeSystemWarningValidationSupport(context)
    # A code of a system that isn't here (LOINC, UMLS) is no fault; that it is outside a required set still is one.
    unknown.setNonExistentCodeSystemSeverity(hapi.support.IValidationSupport.IssueSeverity.WARNING)
    instance = module.validator.FhirInstanceValidator(
        module.support.ValidationSupportChain(
            ours,
            hapi.support.DefaultProfileValidationSupport(context),
            module.support.CommonCodeSystemsTerminologyService(context),
            module.support.InMemoryTerminologyServerValidationSupport(context),
            module.support.SnapshotGeneratingValidationSupport(context),
            unknown,
        )
    )
    instance.setErrorForUnknownProfiles(True)
    instance.setAnyExtensionsAllowed(False)
    instance.setAssumeValidRestReferences(True)  # else the type in "Practitioner/1" is not looked at
    return context.newValidator().registerValidatorModule(instance)


def validate(checker: Any, resource: Any, profile: str | None) -> list[tuple[str, str, str]]:
    """What HAPI says of one resource: severity (lower case), location and text of each message."""
    options = jpype.JClass("ca.uhn.fhir.validation.ValidationOptions")()
    if profile is not None:
        options.addProfile(profile)
    result = checker.validateWithResult(json.dumps(resource), options)
    return [
        (str(one.getSeverity()).lower(), str(one.getLocationString()), str(one.getMessage()))
        for one in result.getMessages()
    ]


def main() -> None:
    jars, data = Path(sys.argv[1]), Path(sys.argv[2])
    # Java code prints where it likes; answers go through a descriptor that it doesn't know.
    answers = os.fdopen(os.dup(1), "w", encoding="ascii")
    os.dup2(2, 1)
    jpype.startJVM(*JAVA, classpath=[f"{jars}/*"], convertStrings=True)
    pool = ThreadPoolExecutor()
    # R5 takes some 15 s to load, R4 one: they load at once, and an R4 resource need not wait for R5.
    made: dict[str, Future[Any]] = {version: pool.submit(validator, version, data) for version in CONTEXTS}
    for line in sys.stdin:
        asked = json.loads(line)
        found = validate(made[asked["version"]].result(), asked["resource"], asked["profile"])
        answers.write(json.dumps(found) + "\n")
        answers.flush()
    os._exit(0)  # not waiting for what may still load


if __name__ == "__main__":
    main()
