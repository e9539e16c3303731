"""What rows tell of people, masked and not."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from node.web.masking import BULLETS, mask, mask_quoted
from node.web.show import MASKED, Show
from tests.index.arrivals import Arrivals
from tests.studies import STUDY, ct

SECRETS = ("PAT-0042", "Müller", "A20260042", "S42", "HOSP", "SOMEBODY-ELSE")


@pytest.mark.parametrize(
    ("identifier", "shown"),
    [
        ("", ""),
        ("1", BULLETS),
        ("12345", BULLETS),
        ("123456", f"{BULLETS}56"),
        ("PAT-0042", f"{BULLETS}42"),
        ("1" * 64, f"{BULLETS}11"),
        ("<b>&amp;</b>", f"{BULLETS}b>"),
    ],
)
def test_at_most_the_last_two_characters(identifier: str, shown: str) -> None:
    assert mask(identifier) == shown


@pytest.mark.parametrize(
    "patient", ["PAT-0042", "it's 42", 'say "no" 42', "both ' and \" 42", "back\\slash42", "\x0042x\u202e42"]
)
def test_identifiers_are_masked_wherever_a_sentence_quotes_them(patient: str) -> None:
    """As index.rows and holding quote them: by repr()."""
    sentence = f"patient {patient!r} (issuer {'HOSP'!r}) and patient {'SOMEBODY'!r} in one study"
    shown = f"patient '{BULLETS}42' (issuer '{BULLETS}') and patient '{BULLETS}DY' in one study"
    assert mask_quoted(sentence) == shown


@pytest.fixture
def conflict(tmp_path: Path) -> Arrivals:
    """A study of two patients."""
    arrivals = Arrivals(tmp_path)
    arrivals.deliver(ct(1), ct(2, PatientID="SOMEBODY-ELSE"))
    arrivals.close()
    return arrivals


def test_nothing_masked_tells_who_it_is(conflict: Arrivals) -> None:
    row, series = conflict.studies.summary(STUDY)
    shown = [
        MASKED.study(row),
        [MASKED.series(part, {}) for part in series],
        [MASKED.quarantined(one) for one in conflict.quarantine()],
    ]
    text = orjson.dumps(shown).decode()
    assert [secret for secret in SECRETS if secret in text] == []


def test_masked_rows_tell_studies_apart(conflict: Arrivals) -> None:
    row, _ = conflict.studies.summary(STUDY)
    study = MASKED.study(row)
    assert (study["patient_id"], study["accession"], study["study_id"]) == (
        f"{BULLETS}42",
        f"{BULLETS}42",
        BULLETS,
    )
    assert study["patient_name"] is None
    assert (study["description"], study["study_date"], study["uid"]) == ("CT THORAX", "20260310", STUDY)
    (held,) = conflict.quarantine()
    assert MASKED.quarantined(held)["detail"].startswith(f"patient '{BULLETS}42' (issuer '{BULLETS}') and")
    assert (MASKED.quarantined(held)["kind"], MASKED.quarantined(held)["state"]) == ("study", "waiting")


def test_with_identifiers_all_is_shown(conflict: Arrivals) -> None:
    show = Show(identifiers=True)
    study = show.study(conflict.studies.summary(STUDY)[0])
    assert (study["patient_id"], study["accession"], study["study_id"]) == ("PAT-0042", "A20260042", "S42")
    assert study["patient_name"] == "Müller^Jörg^Karl"
    assert "SOMEBODY-ELSE" in show.quarantined(conflict.quarantine()[0])["detail"]


def test_columns_for_c_find_alone_are_in_no_answer(conflict: Arrivals) -> None:
    row, _ = conflict.studies.summary(STUDY)
    for show in (MASKED, Show(identifiers=True)):
        study = show.study(row)
        assert not study.keys() & {"patient_name_key", "patient_issuer", "attributes", "revision", "conflict"}


def test_a_series_with_its_size(conflict: Arrivals) -> None:
    _, (part,) = conflict.studies.summary(STUDY)
    shown = MASKED.series(part, {f"{STUDY}.1": (2_000, 0.5)})
    assert shown == {
        "uid": f"{STUDY}.1",
        "modality": "CT",
        "instances": 2,
        "number": "1",
        "description": "Thorax 1.5mm",
        "body_part": "CHEST",
        "station": "CTStation1",
        "bytes": 2_000,
        "last_at": "1970-01-01T00:00:00.500Z",
    }
