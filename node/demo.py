"""``demo``: makes a small study, sends it to the running node and shows the event that comes out."""

from __future__ import annotations

import struct
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import orjson
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid
from rich.console import Console
from rich.syntax import Syntax

from node.client import ApiError, Client
from node.errors import NodeError
from node.services.send import SendOptions
from node.services.send.address import Address
from node.services.send.view import print_summary, send_with_progress

_SIZE: Final = 64  # rows and columns
_SLICES: Final = 12
# description, body part, contrast agent of each series
_SERIES: Final = (("Head without contrast", ""), ("Head with contrast", "Iohexol 300"))
_POLL_SECONDS: Final = 0.25
_PATIENCE_SECONDS: Final = 3.0
_INDEX_SECONDS: Final = 15.0
_PUBLISH_SECONDS: Final = 30.0


def make_study(folder: Path, now: datetime) -> str:
    """Writes a head CT of two series, twelve images each, with fresh UIDs below ``folder``.

    Returns its Study Instance UID. The patient is made up; the pixels are an ellipse (64 x 64, 12 bit).
    """
    study = generate_uid()
    frame_of_reference = generate_uid()
    for number, (description, contrast) in enumerate(_SERIES, 1):
        series = generate_uid()
        for place in range(1, _SLICES + 1):
            image = _image(study, now)
            image.SeriesInstanceUID = series
            image.SeriesNumber = number
            image.SeriesDescription = description
            image.InstanceNumber = image.AcquisitionNumber = place
            image.FrameOfReferenceUID = frame_of_reference
            image.ImagePositionPatient = [-112.0, -112.0, 5.0 * place]
            image.SliceLocation = 5.0 * place
            if contrast:
                image.ContrastBolusAgent = contrast
            image.PixelData = _pixels(place, 1300 if contrast else 1100)
            image.save_as(folder / f"{number}-{place:02d}.dcm", enforce_file_format=True)
    return str(study)


def run_demo(
    to: str, client: Client, console: Console, wait: bool = False, patience: float = _PATIENCE_SECONDS
) -> bool:
    """Sends the study to ``to`` (AE@HOST:PORT), waits for its event on ``client``'s HTTP API and prints it.

    A node waits ``completion.quiet_seconds`` for more images (60 by default). The demo shows that for
    ``patience`` seconds, then uses the operator's ``complete`` and says so; with ``wait`` it waits it out.
    False, after saying why, when the node can't be reached, an object is not stored or no event comes.
    """
    try:
        address = Address.parse(to)
        client.studies(limit=1)
    except (ValueError, NodeError) as error:
        console.print(f"No running node: {error}", markup=False)
        console.print(
            "Start one with `make run` in another terminal, then run `make demo` again.", markup=False
        )
        return False
    with tempfile.TemporaryDirectory(prefix="demo-") as folder:
        uid = make_study(Path(folder), datetime.now())
        options = SendOptions(calling_ae="DEMO", retries=0)
        summary = send_with_progress([Path(folder)], address, options, console)
    print_summary(summary, console)
    if summary.exit_code:
        return False
    try:
        event = _await_event(client, uid, summary.stored, wait, patience, console)
    except NodeError as error:
        console.print(f"{error}. {error.hint}", markup=False)
        return False
    _print_event(event, uid, console)
    return True


def _await_event(
    client: Client, uid: str, count: int, wait: bool, patience: float, console: Console
) -> dict[str, Any]:
    with console.status("waiting for the index") as status:
        study = _await_indexed(client, uid, count)
        quiet = study["quiet_seconds"]
        console.print(f"The study is complete when nothing new has come for {quiet:g} s.", markup=False)
        begin = time.monotonic()
        while not (event := _delivered(client, uid)):
            left = _seconds_to(study["deadline"])
            if study["state"] == "open" and not wait and time.monotonic() - begin >= patience:
                console.print(
                    f"Not waiting for the other {left:.0f} s: `complete {uid}`, as an operator would.",
                    markup=False,
                )
                client.command(uid, "complete")
                wait, begin = True, time.monotonic()
            elif time.monotonic() - begin > quiet + _PUBLISH_SECONDS:
                raise ApiError(f"no event of study {uid} came out", "Look at the node's log and at /readyz.")
            status.update(_waiting_for(study["state"], left))
            time.sleep(_POLL_SECONDS)
            study = client.study(uid)
        return event


def _await_indexed(client: Client, uid: str, count: int) -> dict[str, Any]:
    deadline = time.monotonic() + _INDEX_SECONDS
    while time.monotonic() < deadline:
        try:
            study = client.study(uid)
            if study["instances"] >= count:
                return study
        except ApiError as error:
            if error.http_status != 404:
                raise
        time.sleep(_POLL_SECONDS)
    raise ApiError(
        f"study {uid} is not in the index of the node at this URL", "Are --to and --url the same node?"
    )


def _delivered(client: Client, uid: str) -> dict[str, Any] | None:
    """The study's event as soon as the sink has it. Raises ApiError when it is parked instead."""
    rows, _ = client.events(uid)
    for row in rows:
        if row["parked_reason"]:
            raise ApiError(
                f"the event is parked: {row['parked_reason']}", "This is a fault: please report it."
            )
        if row["sent_at"]:
            return dict(row)
    return None


def _waiting_for(state: str, left: float) -> str:
    if state == "open":
        return f"quiet period: complete in {left:.0f} s unless more images come"
    if state == "held":
        return "somebody holds the study"
    return "complete: waiting for the sink to take the event"


def _seconds_to(instant: str | None) -> float:
    if instant is None:
        return 0.0
    return max(0.0, (datetime.fromisoformat(instant) - datetime.now(UTC)).total_seconds())


def _print_event(row: dict[str, Any], uid: str, console: Console) -> None:
    event = dict(row["event"])
    data = event.get("data")
    if data:
        event["data"] = _shortened(data)
    text = orjson.dumps(event, option=orjson.OPT_INDENT_2).decode()
    console.print(Syntax(text, "json", background_color="default", word_wrap=True))
    console.print(
        f"Event {event['id']} went to {row['topic']!r}. All of it: dicom-fhir-node events --study {uid}"
    )


def _shortened(resource: dict[str, Any]) -> dict[str, Any]:
    """The first instance of each series stands for the others, so that the event fits on a screen."""
    series = []
    for one in resource.get("series", []):
        instances = one.get("instance", [])
        more = [f"... and {len(instances) - 1} more"] if len(instances) > 1 else []
        series.append({**one, "instance": instances[:1] + more} if instances else one)
    return {**resource, "series": series} if series else resource


def _image(study: str, now: datetime) -> Dataset:
    """What all images share; PS3.3 A.3: patient, study, equipment, CT image."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image = Dataset()
    image.file_meta = meta
    image.SOPClassUID = CTImageStorage
    image.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    image.StudyInstanceUID = study
    image.SpecificCharacterSet = "ISO_IR 192"
    image.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    image.StudyDate = image.SeriesDate = image.AcquisitionDate = image.ContentDate = now.strftime("%Y%m%d")
    image.StudyTime = image.SeriesTime = image.AcquisitionTime = image.ContentTime = now.strftime("%H%M%S")
    image.TimezoneOffsetFromUTC = now.astimezone().strftime("%z")
    image.AccessionNumber = now.strftime("DEMO%H%M%S")
    image.Modality = "CT"
    image.Manufacturer = "Demo"
    image.ManufacturerModelName = "Ellipse 64"
    image.StationName = "DEMO"
    image.InstitutionName = "Demo Hospital"
    image.ReferringPhysicianName = "Lindström^Ásta^^Dr"
    image.StudyDescription = "CT head"
    image.PatientName = "Demo^Ella"
    image.PatientID = "DEMO-1"
    image.PatientBirthDate = "19800229"
    image.PatientSex = "F"
    image.BodyPartExamined = "HEAD"
    image.StudyID = "1"
    image.SliceThickness = 5.0
    image.KVP = 120
    image.PositionReferenceIndicator = ""
    image.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    image.PatientPosition = "HFS"
    image.SamplesPerPixel = 1
    image.PhotometricInterpretation = "MONOCHROME2"
    image.Rows = image.Columns = _SIZE
    image.PixelSpacing = [3.5, 3.5]
    image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 16, 12, 11, 0
    image.RescaleIntercept, image.RescaleSlope, image.RescaleType = -1024, 1, "HU"
    return image


def _pixels(place: int, inside: int) -> bytes:
    """An ellipse that grows and shrinks from slice to slice: a head, if one wishes."""
    half = _SIZE / 2
    across = half * 0.8 * (1 - ((place - _SLICES / 2) / _SLICES) ** 2)
    values = []
    for y in range(_SIZE):
        for x in range(_SIZE):
            within = ((x - half) / across) ** 2 + ((y - half) / (across * 1.15)) ** 2
            values.append(inside if within < 0.85 else 1800 if within < 1 else 0)  # brain, skull, air
    return struct.pack(f"<{len(values)}H", *values)
