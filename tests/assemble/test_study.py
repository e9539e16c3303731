from __future__ import annotations

import random
from dataclasses import replace

import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from node import assemble, extract
from node.assemble import quality
from node.model import Finding, HeaderSet, InstanceRow, Study
from node.terms import Identifier, Issuer, Moment
from tests.studies import CT, ENCODINGS, EXPLICIT, STUDY, assembled, coded, ct, item, rows, rtstruct, scanned


def found(study: Study, rule: str) -> set[tuple[str, str, int]]:
    return {(one.keyword, one.uid, one.instances) for one in study.findings if one.rule == rule}


def test_a_study_without_disagreement() -> None:
    study = assembled([ct(1), ct(2), rtstruct()])
    assert study.uid == STUDY
    assert study.patient.id == "PAT-0042"
    assert study.patient.issuer == Issuer("HOSP", "1.2.250.1.999.1", "ISO")
    assert study.started == Moment("20260310", "081530.25", offset="+0100")
    assert study.accessions == (Identifier("A20260042", Issuer("RIS", "1.2.250.1.999.2", "ISO")),)
    assert [series.number for series in study.series] == ["1", "900"]
    assert [one.number for one in study.series[0].instances] == ["1", "2"]
    assert study.instance_count == 3
    assert study.findings == ()
    assert study.identities == (Identifier("PAT-0042", Issuer("HOSP", "1.2.250.1.999.1", "ISO")),)


def test_every_order_of_arrival_gives_the_same_study() -> None:
    datasets = _disagreeing()
    expected = assembled(datasets)
    assert expected.findings
    shuffled = random.Random(7)
    for _ in range(20):
        shuffled.shuffle(datasets)
        assert assembled(datasets) == expected


def _disagreeing() -> list[Dataset]:
    return [
        ct(1, StudyDescription="a", PatientName="X^Y", SeriesTime="081703", Laterality="R"),
        ct(2, StudyDescription="b", BodyPartExamined="ABDOMEN", StationName="OTHER"),
        ct(3, StudyDescription="b", StudyDate="20260309", StudyTime="235959", OperatorsName="Meitner^Lise"),
        ct(4, StudyDescription="a", PatientID="PAT-0043", InstitutionName="Hospital B"),
        ct(10, 2, AccessionNumber="B", SeriesNumber=None, Modality="MR"),
        ct(11, 2, AccessionNumber="C", SeriesNumber=None),
        ct(5, 3, InstanceNumber=None, SeriesNumber="-3"),
        rtstruct(),
    ]


def test_the_majority_wins_and_the_minority_is_counted() -> None:
    study = assembled([ct(1, StudyDescription="a"), ct(2), ct(3)])
    assert study.description == "CT THORAX"
    assert found(study, "disagreement") == {("StudyDescription", STUDY, 1)}


def test_of_equally_frequent_values_the_first_instances_wins() -> None:
    study = assembled(
        [ct(9, StudyDescription="later"), ct(2, StudyDescription="earlier"), ct(3, 7, StudyDescription="")]
    )
    assert study.description == "earlier"


def test_an_empty_value_is_no_vote() -> None:
    study = assembled([ct(1, StudyDescription=""), ct(2, StudyDescription=""), ct(3)])
    assert study.description == "CT THORAX"
    assert not found(study, "disagreement")


def test_date_and_time_come_from_one_instance() -> None:
    study = assembled(
        [
            ct(1, StudyDate="20260309", StudyTime=""),
            ct(2, StudyDate="20260309", StudyTime="2359"),
            ct(3, StudyDate="20260309", StudyTime="2359"),
            ct(4, StudyDate="", StudyTime="0101"),
        ]
    )
    assert study.started == Moment("20260309", "2359", offset="+0100")


def test_the_series_start_is_the_earliest() -> None:
    study = assembled([ct(1, SeriesTime="0900"), ct(2, SeriesTime="0859"), ct(3, SeriesTime="0900")])
    assert study.series[0].started == Moment("20260310", "0859", offset="+0100")
    assert study.series[0].acquired == Moment("20260310", "081801", offset="+0100")
    assert not found(study, "disagreement")


@pytest.mark.parametrize(
    ("second", "identities"),
    [
        ({}, 1),
        ({"PatientID": "OTHER"}, 2),
        ({"PatientID": ""}, 1),
        ({"IssuerOfPatientID": ""}, 1),
        ({"IssuerOfPatientID": "CLINIC"}, 2),
        ({"IssuerOfPatientID": None, "IssuerOfPatientIDQualifiersSequence": None}, 1),
    ],
)
def test_patients(second: dict[str, str | None], identities: int) -> None:
    study = assembled([ct(1), ct(2), ct(3, **second)])
    assert len(study.identities) == identities
    assert study.patient.id == "PAT-0042"
    assert study.patient.issuer.local == "HOSP"
    assert bool(found(study, "patient-conflict")) == (identities > 1)


def test_the_issuer_comes_with_its_id() -> None:
    study = assembled(
        [
            ct(1),
            ct(2, PatientID="Z", IssuerOfPatientID="CLINIC"),
            ct(3, PatientID="Z", IssuerOfPatientID="CLINIC"),
        ]
    )
    assert (study.patient.id, study.patient.issuer.local) == ("Z", "CLINIC")


def test_accession_numbers_the_most_frequent_first() -> None:
    study = assembled([ct(1, AccessionNumber="B"), ct(2), ct(3), ct(4, AccessionNumber="")])
    assert [one.value for one in study.accessions] == ["A20260042", "B"]


def test_unions_keep_each_value_once() -> None:
    codes = Sequence([coded("24627-2", "LN", "CT Chest"), coded("9", "99X", "Extra")])
    study = assembled(
        [ct(1), ct(2, ProcedureCodeSequence=codes), ct(3, OperatorsName=["Curie^Marie", "Meitner^Lise"])]
    )
    assert [code.value for code in study.procedure_codes] == ["24627-2", "9"]
    assert [one.name for one in study.series[0].operators] == ["Curie^Marie", "Meitner^Lise"]
    assert len(study.requests) == 1


def test_operators_are_matched_with_their_identification_by_place() -> None:
    identification = Sequence(
        [item(PersonIdentificationCodeSequence=Sequence([coded("1", "L", "one")])), item(InstitutionName="x")]
    )
    study = assembled([ct(OperatorsName=["A", "B"], OperatorIdentificationSequence=identification)])
    first, second = study.series[0].operators
    assert (first.name, first.codes[0].value) == ("A", "1")
    assert (second.name, second.codes) == ("B", ())


def test_coding_scheme_uids_travel_with_their_codes() -> None:
    schemes = Sequence([item(CodingSchemeDesignator="99X", CodingSchemeUID="1.2.3")])
    study = assembled(
        [
            ct(
                CodingSchemeIdentificationSequence=schemes,
                ProcedureCodeSequence=Sequence([coded("9", "99X", "m")]),
            )
        ]
    )
    assert study.procedure_codes[0].scheme_uid == "1.2.3"


def test_long_and_urn_codes() -> None:
    codes = Sequence(
        [
            item(LongCodeValue="x" * 20, CodingSchemeDesignator="LN", CodeMeaning="long"),
            item(URNCodeValue="urn:oid:1.2", CodeMeaning="urn"),
            item(CodingSchemeDesignator="LN"),
        ]
    )
    study = assembled([ct(ProcedureCodeSequence=codes)])
    assert [(code.value, code.scheme) for code in study.procedure_codes] == [
        ("x" * 20, "LN"),
        ("urn:oid:1.2", "URN"),
    ]


def test_devices_are_listed_once_per_distinct_tuple() -> None:
    study = assembled([ct(1), ct(2), ct(3, StationName="B")])
    assert [one.station for one in study.series[0].devices] == ["CTStation1", "B"]
    assert study.series[0].devices[0].software == ("VB20A", "1.2")


def test_the_representative_is_the_first_image() -> None:
    study = assembled([ct(1, Rows=None), ct(3, PatientWeight="90"), ct(2)])
    assert study.series[0].representative == f"{STUDY}.1.2"
    assert study.series[0].patient_weight == "80"
    assert assembled([rtstruct()]).series[0].representative == ""


def test_laterality_of_the_series_or_of_its_images() -> None:
    assert assembled([ct(1), ct(2, Laterality="", ImageLaterality="R")]).series[0].lateralities == ("L", "R")
    assert assembled([ct(1, Laterality=None)]).series[0].lateralities == ()


def test_body_parts_the_most_frequent_first() -> None:
    region = Sequence([coded("T-D4000", "SRT", "Abdomen")])
    study = assembled([ct(1), ct(2, AnatomicRegionSequence=region), ct(3, AnatomicRegionSequence=region)])
    assert [(part.examined, part.instances) for part in study.series[0].body_parts] == [
        ("CHEST", 2),
        ("CHEST", 1),
    ]
    assert study.series[0].body_parts[0].region is not None


def test_series_and_instances_without_a_number_come_last() -> None:
    study = assembled([ct(1, 30, SeriesNumber=None), ct(1, 4), ct(10, 4, InstanceNumber=None), ct(2, 4)])
    assert [series.uid for series in study.series] == [f"{STUDY}.4", f"{STUDY}.30"]
    assert [one.uid for one in study.series[0].instances] == [f"{STUDY}.4.1", f"{STUDY}.4.2", f"{STUDY}.4.10"]


def test_specimens_fall_back_to_their_container() -> None:
    assert [one.value for one in assembled([ct()]).series[0].specimens] == ["SP-1"]
    study = assembled([ct(SpecimenDescriptionSequence=None, ContainerIdentifier="C-9")])
    assert [one.value for one in study.series[0].specimens] == ["C-9"]


def test_the_senders_time_zone_stays_with_the_times() -> None:
    headers, instances = rows([ct(TimezoneOffsetFromUTC=None)])
    zoned = [replace(headers[0], attributes={**headers[0].attributes, "_timezone": ["Europe/Paris"]})]
    study = assemble.study(STUDY, zoned, instances)
    assert study.started == Moment("20260310", "081530.25", timezone="Europe/Paris")
    assert study.series[0].instances[0].acquisition == Moment("20260310", "081801", timezone="Europe/Paris")


def test_a_set_that_is_not_there_is_an_error() -> None:
    _, instances = rows([ct()])
    with pytest.raises(KeyError):
        assemble.study(STUDY, [], instances)


@pytest.mark.parametrize(
    ("changes", "rule", "keyword"),
    [
        ({"PatientID": ""}, "patient-id-missing", "PatientID"),
        ({"Modality": ""}, "modality-missing", "Modality"),
        ({"TimezoneOffsetFromUTC": "-0000"}, "offset-invalid", "TimezoneOffsetFromUTC"),
        ({"TimezoneOffsetFromUTC": "CET"}, "offset-invalid", "TimezoneOffsetFromUTC"),
        ({"InstanceNumber": "-1"}, "number-out-of-range", "InstanceNumber"),
        ({"SeriesNumber": "2147483648"}, "number-out-of-range", "SeriesNumber"),
        ({"SeriesDate": "20260309"}, "series-before-study", "SeriesDate"),
        ({"SeriesTime": "0814"}, "series-before-study", "SeriesDate"),
    ],
)
def test_findings(changes: dict[str, str], rule: str, keyword: str) -> None:
    assert rule in quality.NAMES
    assert keyword in {name for name, _, _ in found(assembled([ct(**changes)]), rule)}
    assert not found(assembled([ct()]), rule)


def test_findings_about_dates_and_times() -> None:
    headers, instances = rows([ct()])
    wrong = {**headers[0].attributes, "StudyDate": ["20261399"], "SeriesDate": ["yesterday"]}
    own = {**instances[0].attributes, "AcquisitionTime": ["2561"], "ContentDate": ["20260230"]}
    study = assemble.study(
        STUDY, [replace(headers[0], attributes=wrong)], [replace(instances[0], attributes=own)]
    )
    assert {name for name, _, _ in found(study, "date-invalid")} == {"StudyDate", "SeriesDate", "ContentDate"}
    assert {name for name, _, _ in found(study, "time-invalid")} == {"AcquisitionTime"}


def test_one_instance_uid_in_two_series_is_listed_in_both() -> None:
    study = assembled([ct(1), ct(1, 2, SOPInstanceUID=f"{STUDY}.1.1")])
    assert study.instance_count == 2
    assert found(study, "instance-in-two-series") == {("SOPInstanceUID", f"{STUDY}.2", 1)}


def test_findings_never_hold_values() -> None:
    for one in assembled(_disagreeing()).findings:
        assert isinstance(one, Finding)
        assert one.rule in quality.NAMES
        assert one.uid.startswith(STUDY)
        assert one.keyword.isalpha()


def test_a_large_study_is_assembled() -> None:
    headers = [HeaderSet(1, "1.2", {"Modality": ["CT"], "PatientID": ["P"], "SeriesNumber": ["1"]})]
    instances = [
        InstanceRow("1.2", f"1.2.3.{n}", CT, EXPLICIT, 1, {"InstanceNumber": [str(n)], "Rows": [512]}, "CT1")
        for n in range(24_000)
    ]
    study = assemble.study("1", headers, instances)
    assert study.instance_count == 24_000


@pytest.mark.parametrize("syntax", ENCODINGS)
def test_frame_laterality_of_enhanced_objects(syntax: str) -> None:
    anatomy = item(FrameLaterality="L")
    groups = item(FrameAnatomySequence=[anatomy], PixelMeasuresSequence=[item(SliceThickness="1.5")])
    image = ct(SharedFunctionalGroupsSequence=[groups])
    del image.Laterality
    attributes = extract.own(scanned(image, syntax))
    assert attributes["FrameLaterality"] == ["L"]
    assert "SliceThickness" not in attributes
    assert assembled([image]).series[0].lateralities == ("L",)
    image.ImageLaterality = "R"
    assert assembled([image]).series[0].lateralities == ("R",)
