"""The pages of the targets: made from the tables, committed as they are made."""

from __future__ import annotations

import re

import pytest
from pydicom.datadict import dictionary_description

from node.fhir import pages
from node.fhir.options import FhirOptions
from node.fhir.table import Page, Row, Section
from node.fhir.targets import PROFILES
from tests.tools import ROOT

PAGES = ROOT / "docs" / "fhir"


def page(*rows: Row[object, object], about: str = "About.") -> str:
    return pages.page(PROFILES["r5"]._replace(page=Page("Title", about, (Section("ImagingStudy", rows),))))


def row(source: str = "", rule: str = "") -> str:
    """The line of one element."""
    found = page(Row("status", "1..1", source, rule, lambda _one, _context: None))
    (line,) = [line for line in found.splitlines() if line.startswith("| `status`")]
    return line


@pytest.mark.parametrize("name", PROFILES)
def test_the_committed_page_is_what_the_tables_give(name: str) -> None:
    committed = (PAGES / f"{name}.md").read_text()
    assert committed == pages.page(PROFILES[name]), "run `make docs`"


def test_there_is_no_page_without_a_target() -> None:
    assert {path.stem for path in PAGES.iterdir()} == set(PROFILES)


def test_the_readme_links_them_all() -> None:
    readme = (ROOT / "README.md").read_text()
    linked = re.findall(r"^\| `(\w+)` \|.*\]\(docs/fhir/(\w+)\.md\) \|$", readme, re.MULTILINE)
    assert linked == [(name, name) for name in PROFILES]


@pytest.mark.parametrize("name", PROFILES)
def test_every_element_is_there_with_its_sources_by_name(name: str) -> None:
    text = pages.page(PROFILES[name])
    for section in PROFILES[name].page.sections:
        assert f"\n## {section.path}\n" in text
        for one in section.rows:
            assert f"| `{one.element}` | {one.card} | " in text
            for group, element in re.findall(r"\(([0-9A-F]{4}),([0-9A-F]{4})\)", one.source):
                description = dictionary_description(int(group + element, 16))
                assert f"{description} ({group},{element})" in text


@pytest.mark.parametrize("name", PROFILES)
def test_a_page_is_well_formed(name: str) -> None:
    text = pages.page(PROFILES[name])
    assert text.startswith(f"# {PROFILES[name].page.title}\n")
    assert text.endswith("|\n")
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in rows} == {5}
    for key, _ in PROFILES[name].missing(FhirOptions()):
        assert f"* Needs `{key}`: " in text
    assert f"fhirVersion={PROFILES[name].fhir_version}`" in text


def test_sources() -> None:
    assert row("(0008,0020) (0008,0030), (0040,0244)") == (
        "| `status` | 1..1 | Study Date (0008,0020) + Study Time (0008,0030), "
        "Performed Procedure Step Start Date (0040,0244) |  |"
    )
    assert row("fhir.endpoint.name, counted") == "| `status` | 1..1 | `fhir.endpoint.name`, counted |  |"
    assert "| (00E1,1040) |" in row("(00E1,1040)"), "PS3.6 has no name for a private element"


def test_rules() -> None:
    assert row(rule="a|b") == r"| `status` | 1..1 |  | a\|b |"
    assert row(rule="see http://hl7.org/fhir/vs/modality, or not.").endswith(
        "| see <http://hl7.org/fhir/vs/modality>, or not. |"
    )
    assert row(rule="`http://example.org`").endswith("| `http://example.org` |")
