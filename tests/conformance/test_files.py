"""The committed copies: each is what the code makes."""

from __future__ import annotations

import pytest

from node.config import Config
from node.conformance import __main__ as command
from node.conformance.files import filled, made
from tests.tools import ROOT

FILES = (
    "docs/conformance.md",
    "docs/consuming.md",
    "conf/asyncapi.yaml",
    "conf/asyncapi-consumer.yaml",
    "conf/schemas/imagingstudy.event.json",
    "conf/schemas/imagingstudy.headers.json",
    "conf/schemas/imagingselection.event.json",
    "conf/schemas/imagingselection.headers.json",
)


@pytest.fixture(scope="module")
def files() -> dict[str, str]:
    return made(ROOT)


@pytest.mark.parametrize("name", FILES)
def test_the_committed_copy_is_what_the_code_makes(files: dict[str, str], name: str) -> None:
    assert (ROOT / name).read_text() == files[name], "run `make docs`"


def test_no_other_file_is_made(files: dict[str, str]) -> None:
    assert set(files) == set(FILES)
    assert {f"conf/schemas/{path.name}" for path in (ROOT / "conf" / "schemas").iterdir()} < set(FILES)


def test_the_page_has_every_program_and_every_kind_of_event(files: dict[str, str]) -> None:
    page = files["docs/consuming.md"]
    for path in (ROOT / "docs" / "examples").glob("*.py"):
        assert f"```python\n{path.read_text().rstrip()}\n```" in page
    for kind in ("imagingstudy.completed", "imagingstudy.amended", "imagingselection.amended"):
        assert f'"type": "org.dicom-fhir-node.{kind}.v1"' in page


def test_the_page_names_the_defaults(files: dict[str, str]) -> None:
    events = Config().events
    for said in (
        f"`events.max_event_bytes` ({events.max_event_bytes:,})",
        f"`partitions` ({events.kafka.partitions})",
        f"`create_topics = {str(not events.kafka.create_topics).lower()}`",
        *(f"`{output.topic}`" for output in Config().outputs),
    ):
        assert said in files["docs/consuming.md"], said


def test_a_block_is_filled_and_the_rest_stays() -> None:
    page = "a\n<!-- made: x -->\nold\n<!-- end -->\nb\n<!-- made: y -->\n<!-- end -->\n"
    found = filled(page, {"x": "1\\2", "y": "new"})
    assert found == "a\n<!-- made: x -->\n1\\2\n<!-- end -->\nb\n<!-- made: y -->\nnew\n<!-- end -->\n"
    with pytest.raises(KeyError, match="z"):
        filled("<!-- made: z -->\n<!-- end -->", {})


def test_the_command_writes_them(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path_factory.mktemp("checkout")
    monkeypatch.setattr(command, "made", lambda root: {"docs/new.md": f"in {root.name}\n"})
    command.main(folder)
    assert (folder / "docs" / "new.md").read_text() == f"in {folder.name}\n"
