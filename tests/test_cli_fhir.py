"""``fhir``: files in, resources out, without a node; the same as a node publishes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.harness import LocalNode, eventually
from tests.preview.made import write
from tests.scenarios.sender import new_uid
from tests.studies import STUDY, ct, made_study
from tests.test_cli import Run, as_before, lines, node, run

__all__ = ["as_before", "node", "run"]


def test_files_become_what_the_node_publishes(run: Run, node: LocalNode, tmp_path: Path) -> None:
    uid = new_uid()
    made_study(tmp_path / "study", uid, {"CT": 3, "MR": 1})
    run("send", tmp_path / "study", "--to", f"{node.ae_title}@127.0.0.1:{node.port}")
    eventually(lambda: len(node.stored()) == 4)
    node.post(f"/api/studies/{uid}/complete")
    (event,) = node.wait_for_events(1)
    result = run("fhir", tmp_path / "study")
    assert result.exit_code == 0, result.output
    assert lines(result) == [event["data"]]


def test_several_studies_or_one_of_them(run: Run, tmp_path: Path) -> None:
    uids = [new_uid(), new_uid()]
    for uid in uids:
        made_study(tmp_path / uid, uid, {"CT": 1})
    all_of_them = lines(run("fhir", tmp_path / uids[0], tmp_path / uids[1], "--profile", "dstu1"))
    assert [one["uid"] for one in all_of_them] == [f"urn:oid:{uid}" for uid in uids]
    one = run("fhir", tmp_path, "--study", uids[1], "--profile", "dstu1")
    assert (lines(one), one.exit_code) == (all_of_them[1:], 0)
    assert "passed over: 1 of other studies" in one.stderr
    assert not (tmp_path / "var").exists(), "nothing is kept"


def test_the_fhir_keys_of_a_configuration(run: Run, tmp_path: Path) -> None:
    made_study(tmp_path / "study", new_uid(), {"CT": 1})
    result = run("fhir", tmp_path / "study", "--profile", "imr")
    assert result.exit_code == 2
    assert "[fhir] wado_rs_base: " in result.stderr
    assert result.stdout == ""
    file = tmp_path / "node.toml"
    file.write_text('[fhir]\nwado_rs_base = "https://pacs.example.org/dicomweb"\n')
    (resource,) = lines(run("fhir", tmp_path / "study", "--profile", "imr", "--config", file))
    assert resource["contained"][0]["address"] == "https://pacs.example.org/dicomweb"


def test_what_would_not_be_published(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NODE_FHIR__REQUIRE_PATIENT_ID", "true")
    write(tmp_path / "in", ct(1, PatientID=""), ct(1, 2, StudyInstanceUID="1.2.3"))
    result = run("fhir", tmp_path / "in")
    assert result.exit_code == 1
    assert [one["identifier"][0]["value"] for one in lines(result)] == ["urn:oid:1.2.3"]
    assert f"not published: study {STUDY}: the node would hold it: no Patient ID" in result.stderr
    assert f"patient-id-missing: PatientID, 1 instance of {STUDY}" in result.stderr
    for name in ("Müller", "PAT-0042"):
        assert name not in result.stderr


def test_without_a_check_everything_is_printed(run: Run, tmp_path: Path) -> None:
    write(tmp_path, ct(1), ct(2, PatientID="ANOTHER"))
    assert (run("fhir", tmp_path).exit_code, run("fhir", tmp_path).stdout) == (1, "")
    result = run("fhir", tmp_path, "--no-check")
    assert (result.exit_code, len(lines(result))) == (0, 1)


def test_nothing_to_be_found(run: Run, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no DICOM")
    result = run("fhir", tmp_path)
    assert result.exit_code == 1
    assert result.stderr.splitlines() == ["passed over: 1 not DICOM", "no DICOM objects found"]
    write(tmp_path, ct(1))
    result = run("fhir", tmp_path, "--profile", "imagingselection")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "nothing in 1 study for profile imagingselection" in result.stderr


def test_where_each_element_comes_from(run: Run) -> None:
    result = run("fhir", "--explain", "--profile", "dstu1")
    assert result.exit_code == 0
    assert "| `uid` | 1..1 | Study Instance UID (0020,000D) | as `urn:oid:` |" in result.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "give DICOM files or folders"),
        (("nowhere",), "no such file or folder: nowhere"),
        ((".", "--profile", "r6"), "'r6' is not a profile; there are r5, "),
    ],
)
def test_fhir_with_wrong_words_is_a_usage_error(run: Run, words: tuple[str, ...], said: str) -> None:
    result = run("fhir", *words)
    assert result.exit_code == 2
    assert said in result.stderr
