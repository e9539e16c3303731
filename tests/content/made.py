"""Stored documents made by code: data sets as files, content items, codes."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from io import BytesIO
from typing import Any

from pydicom.dataset import Dataset

from node.content import Kind, Settings, parse
from node.documents import Content
from node.objects.filemeta import FileMeta, encode
from tests.studies import EXPLICIT, encoded, item

DEFLATED = "1.2.840.10008.1.2.1.99"
STORAGE = "1.2.840.10008.5.1.4.1.1."
CT = STORAGE + "2"
SEGMENTATION = STORAGE + "66.4"
STUDY, SERIES, INSTANCE = "1.2.826.0.1.1", "1.2.826.0.1.1.1", "1.2.826.0.1.1.1.1"
IMAGE_SERIES, IMAGE = "1.2.826.0.1.1.2", "1.2.826.0.1.1.2.1"


def file_of(data: bytes, syntax: str = EXPLICIT, sop_class: str = CT) -> bytes:
    """A data set's bytes as the node stores them."""
    return encode(FileMeta(sop_class, INSTANCE, syntax, "SENDER", "NODE"), "1.2.826.0.1.9", "TEST") + data


def stored(dataset: Dataset, syntax: str = EXPLICIT, undefined: bool = False) -> bytes:
    """A data set as a file; ``undefined``: every sequence and item without a length."""
    if "SOPClassUID" not in dataset:
        dataset.SOPClassUID = CT
    if undefined:
        without_lengths(dataset)
    data = encoded(dataset, EXPLICIT if syntax == DEFLATED else syntax)
    if syntax == DEFLATED:
        packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        data = packer.compress(data) + packer.flush()
    return file_of(data, syntax, str(dataset.SOPClassUID))


def without_lengths(dataset: Dataset) -> None:
    for element in dataset:
        if element.VR == "SQ":
            element.is_undefined_length = True
            for one in element.value:
                one.is_undefined_length_sequence_item = True
                without_lengths(one)


def read(dataset: Dataset, kind: Kind, **how: Any) -> Content | Settings:
    return parse(BytesIO(stored(dataset, **how)), kind)


def code(value: str, scheme: str = "DCM", meaning: str = "") -> Dataset:
    found = item(CodeValue=value, CodingSchemeDesignator=scheme)
    if meaning:
        found.CodeMeaning = meaning
    return found


def content(
    value_type: str,
    concept: Dataset | str | None = None,
    children: Iterable[Dataset] = (),
    relationship: str = "CONTAINS",
    **more: Any,
) -> Dataset:
    """A content item; ``concept`` is a code of DCM, or a code item."""
    found = item(RelationshipType=relationship, ValueType=value_type, **more)
    if concept is not None:
        found.ConceptNameCodeSequence = [code(concept) if isinstance(concept, str) else concept]
    if children:
        found.ContentSequence = list(children)
    return found


def sop(instance: str = IMAGE, sop_class: str = CT, **more: Any) -> Dataset:
    return item(ReferencedSOPClassUID=sop_class, ReferencedSOPInstanceUID=instance, **more)


def image(concept: str | None = None, relationship: str = "CONTAINS", **more: Any) -> Dataset:
    return content("IMAGE", concept, relationship=relationship, ReferencedSOPSequence=[sop(**more)])


def text(concept: str, value: str, relationship: str = "CONTAINS") -> Dataset:
    return content("TEXT", concept, relationship=relationship, TextValue=value)


def uid(concept: str, value: str, relationship: str = "CONTAINS") -> Dataset:
    return content("UIDREF", concept, relationship=relationship, UID=value)


def coded(
    concept: str | Dataset, value: Dataset, children: Iterable[Dataset] = (), relationship: str = "CONTAINS"
) -> Dataset:
    return content("CODE", concept, children, relationship, ConceptCodeSequence=[value])


def reference(*place: int, relationship: str = "CONTAINS") -> Dataset:
    """A content item by reference."""
    return item(RelationshipType=relationship, ReferencedContentItemIdentifier=list(place))


def evidence(*instances: str, study: str = STUDY, series: str = IMAGE_SERIES) -> Dataset:
    of_series = item(SeriesInstanceUID=series, ReferencedSOPSequence=[sop(one) for one in instances])
    return item(StudyInstanceUID=study, ReferencedSeriesSequence=[of_series])


def document(title: Dataset, children: Iterable[Dataset], sop_class: str, **more: Any) -> Dataset:
    """A whole content document."""
    found = item(
        SOPClassUID=STORAGE + sop_class,
        ContentDate="20260102",
        ContentTime="030405",
        ValueType="CONTAINER",
        ConceptNameCodeSequence=[title],
        **more,
    )
    found.ContentSequence = list(children)
    return found


def group(children: Iterable[Dataset], **more: Any) -> Dataset:
    """A measurement group."""
    return content("CONTAINER", "125007", children, **more)


def measured(groups: Iterable[Dataset], before: Iterable[Dataset] = (), **more: Any) -> Dataset:
    """A TID 1500 report: the container of measurements stands behind ``before``."""
    root = [*before, content("CONTAINER", "126010", groups)]
    return document(code("126000", meaning="Imaging Measurement Report"), root, "88.33", **more)
