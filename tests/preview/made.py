"""Folders of DICOM files made by code."""

from __future__ import annotations

from pathlib import Path

from pydicom.dataset import Dataset

from tests.content.made import code, content, document, evidence, sop, stored
from tests.studies import STUDY, encoded


def write(folder: Path, *datasets: Dataset, syntax: str | None = None) -> Path:
    """The data sets as files of ``folder``, as the node stores them; with ``syntax`` bare, without meta."""
    folder.mkdir(parents=True, exist_ok=True)
    for dataset in datasets:
        data = stored(dataset) if syntax is None else encoded(dataset, syntax)
        (folder / f"{dataset.SOPInstanceUID}.dcm").write_bytes(data)
    return folder


def rejection(instance: str, series: str) -> Dataset:
    """A key object selection that takes an instance of ``STUDY`` back, for a reason of quality."""
    made = document(
        code("113001", meaning="Rejected for Quality Reasons"),
        [content("IMAGE", ReferencedSOPSequence=[sop(instance)])],
        "88.59",
        SOPInstanceUID=f"{STUDY}.700.1",
        StudyInstanceUID=STUDY,
        SeriesInstanceUID=f"{STUDY}.700",
        Modality="KO",
        SeriesNumber=700,
        PatientID="PAT-0042",
        PatientName="Müller^Jörg^Karl",
        SpecificCharacterSet="ISO_IR 192",
    )
    made.CurrentRequestedProcedureEvidenceSequence = [evidence(instance, study=STUDY, series=series)]
    return made
