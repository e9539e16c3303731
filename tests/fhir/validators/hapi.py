"""HAPI FHIR, the reference validator, for tests: one process for the whole session (fixture ``hapi``).

It checks against the base resource, its invariants, the profiles that the resource claims and one asked for,
with the definitions beside the checkout and no terminology server. Its jars come from Maven Central once and
stay in ``build/hapi-libs``. Tests that use it have the markers ``hapi`` and ``shared``.
"""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NamedTuple

import pytest

from tests import jars, tools

_HERE = Path(__file__).resolve().parent

VERSIONS: Final = ("4.0", "5.0")

# Findings that are the definitions' fault and not the resource's: pattern -> reason.
KNOWN: Final[dict[str, str]] = {
    r"alternate-codes' but is fixed to 'http://hl7.org/fhir/StructureDefinition/coding-purpose'": (
        "the extensions package 1.0.0 that HAPI has for R5 fixes a wrong url; 5.3.0 has it right"
    ),
}


class Finding(NamedTuple):
    """One message of HAPI's: ``severity`` is information, warning, error or fatal; ``location`` a FHIRPath."""

    severity: str
    location: str
    message: str

    @property
    def known(self) -> bool:
        """Whether ``KNOWN`` explains it."""
        return any(re.search(pattern, self.message) for pattern in KNOWN)

    def __str__(self) -> str:
        return f"hapi {self.severity} at {self.location}: {self.message}"


class Hapi:
    """The validator's process; ``libraries`` has its jars, ``definitions`` is the shared ``fhir/data``."""

    def __init__(self, libraries: Path, definitions: Path) -> None:
        self._log = tempfile.TemporaryFile()  # noqa: SIM115
        self._process = subprocess.Popen(
            [sys.executable, str(_HERE / "hapi_worker.py"), str(libraries), str(definitions)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, text=True, encoding="ascii",
        )  # fmt: skip

    def errors(self, resource: Mapping[str, Any], version: str, profile: str | None = None) -> list[str]:
        """What makes the resource invalid, each with its place, less what ``KNOWN`` explains.

        ``version`` is FHIR's, ``profile`` one that it must satisfy beside those that it claims.
        """
        found = self.findings(resource, version, profile)
        return [str(one) for one in found if one.severity in ("error", "fatal") and not one.known]

    def warnings(self, resource: Mapping[str, Any], version: str, profile: str | None = None) -> list[str]:
        """What HAPI advises: unknown code systems, codes outside extensible bindings, missing narrative."""
        return [str(one) for one in self.findings(resource, version, profile) if one.severity == "warning"]

    def findings(
        self, resource: Mapping[str, Any], version: str, profile: str | None = None
    ) -> list[Finding]:
        """All that HAPI says about the resource."""
        assert version in VERSIONS, f"HAPI is set up for FHIR {' and '.join(VERSIONS)}, not {version}"
        asked = json.dumps({"version": version, "resource": resource, "profile": profile})
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        answer = ""
        try:
            self._process.stdin.write(asked + "\n")
            self._process.stdin.flush()
            answer = self._process.stdout.readline()
        except BrokenPipeError:
            pass  # said below, with what it wrote before it ended
        if not answer:
            pytest.fail(f"HAPI's process ended with {self._process.wait()}:\n{self._last_words()}")
        return [Finding(*one) for one in json.loads(answer)]

    def _last_words(self) -> str:
        self._log.seek(0)
        return self._log.read().decode(errors="replace")[-4000:]

    def close(self) -> None:
        """End the process."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):  # what it did not read any more
                    pipe.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()

    def __enter__(self) -> Hapi:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@pytest.fixture(scope="session")
def hapi() -> Iterator[Hapi]:
    """The validator that all tests of a run share; it starts in the background of the first that asks for it."""
    with Hapi(jars.jars(jars.HAPI), tools.SHARED / "fhir" / "data") as running:
        yield running
