"""The DICOM Conformance Statement: content and order of its sections are those of PS3.2's template."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import version
from typing import Final

from node.association.negotiation import VERIFICATION
from node.config import Config
from node.conformance import claims, network, query, security, storage
from node.conformance.markdown import blocks, bullets, table
from node.conformance.names import sop_class_name
from node.services.find import MODELS

DISTRIBUTION: Final = "dicom-fhir-node"


def statement(config: Config) -> str:
    """The statement of a node that runs with ``config``, as Markdown that ends with a line feed.

    Without secrets and without paths: it can be handed to whoever wants to connect.
    """
    return blocks(*_sections(config)) + "\n"


def _sections(config: Config) -> Iterator[str]:
    yield "# DICOM Conformance Statement"
    yield (
        "<!-- Made by `dicom-fhir-node conformance` from the code's own tables and the configuration: change them. -->"
    )
    yield f"Product: {DISTRIBUTION}, version {version(DISTRIBUTION)}. AE title: `{config.dicom.ae_title}`."
    yield from _overview()
    yield from _introduction()
    yield from _model(config)
    yield "## 4 The node's AE, as acceptor"
    yield "### 4.1 SOP Classes"
    yield table(
        ("SOP Class", "UID", "SCU", "SCP"),
        (
            (sop_class_name(VERIFICATION), f"`{VERIFICATION}`", "no", "yes"),
            ("every storage SOP Class", "annex A", "by `send`", "yes"),
            *((sop_class_name(uid), f"`{uid}`", "no", "yes") for uid in MODELS),
        ),
    )
    yield network.accepting(config)
    yield from _services(config)
    yield "## 5 The command `send`, as requestor"
    yield (
        "SCU of the storage SOP Classes of the files that it is given. It sends the bytes of a file's data set as "
        "they are, and names the data set's own SOP Class and Instance UID in the command."
    )
    yield network.requesting()
    yield from _physical(config)
    yield "## 7 Configuration"
    yield security.configuration(config)
    yield "## 8 Character sets"
    yield security.characters()
    yield "## 9 Security"
    yield security.security(config)
    yield from _annexes()


def _overview() -> Iterator[str]:
    yield "## 1 Overview"
    yield (
        "The node stores what scanners and archives send it, answers queries about it, and publishes each finished "
        "study as a FHIR resource (docs/consuming.md). A command of the same program sends files."
    )
    yield table(
        ("network service", "SOP Classes", "SCU", "SCP"),
        (
            ("Verification", "Verification", "no", "yes"),
            ("Storage", "every storage SOP Class, private and retired ones too", "yes (`send`)", "yes"),
            ("Query/Retrieve: query", ", ".join(sop_class_name(uid) for uid in MODELS), "no", "yes"),
            ("Query/Retrieve: retrieve (C-MOVE, C-GET)", "none", "no", "no"),
            ("Storage Commitment, Modality Worklist, MPPS, Print", "none", "no", "no"),
            ("DICOMweb (PS3.18)", "none", "no", "no"),
            ("Media storage (PS3.10, PS3.11)", "none: no File-set is written or read as such", "no", "no"),
        ),
    )


def _introduction() -> Iterator[str]:
    yield "## 2 Introduction"
    yield bullets(
        (
            "For those who connect devices to the node: the DICOM standard is taken as known. Terms are those of "
            "PS3.2 to PS3.8; keys such as `dicom.max_pdu` are those of the node's configuration.",
            "Content and order of the sections are those of PS3.2's template, their numbers this statement's own; "
            "what the node has nothing of is said where it would stand. Figures and lists are taken from the tables "
            "that the program runs with, and tests hold them against a running node.",
            "Two conformance statements that agree do not prove that two products work together: try it.",
            "This statement changes with the configuration: `dicom-fhir-node conformance --config FILE` prints that "
            "of a node that runs with FILE.",
        )
    )


def _model(config: Config) -> Iterator[str]:
    yield "## 3 Implementation model"
    yield table(
        ("Application Entity", "real world activity", "service"),
        (
            (f"`{config.dicom.ae_title}`", "checks a connection", "Verification SCP"),
            (
                f"`{config.dicom.ae_title}`",
                "takes objects, gathers them into studies, publishes each finished study",
                "Storage SCP",
            ),
            (f"`{config.dicom.ae_title}`", "tells what is stored", "Query/Retrieve SCP (C-FIND)"),
            ("`send`", "sends files and folders to another node", "Storage SCU"),
        ),
    )
    yield (
        "No activity depends on another; an association may carry all that the caller may use, in any order. Several "
        "processes may receive on the one port: to a peer they are one AE."
    )


def _services(config: Config) -> Iterator[str]:
    yield "### 4.7 Verification"
    yield "Statuses of C-ECHO-RSP:"
    yield query.statuses(claims.ECHO)
    yield "### 4.8 Storage"
    yield storage.section(config)
    yield "### 4.9 Query"
    yield query.section(config)
    yield "### 4.10 Every other request"
    yield query.statuses(claims.OTHERS)
    yield "A command field that PS3.7 does not define is answered with A-ABORT (2/6)."


def _physical(config: Config) -> Iterator[str]:
    dicom = config.dicom
    yield "## 6 Network"
    yield table(
        ("", "value", "key"),
        (
            ("stack", "TCP/IP (IPv4, or IPv6) of the operating system, any medium below it", ""),
            ("listens on", f"`{dicom.host}`, port `{dicom.port}`", "`dicom.host`, `dicom.port`"),
            ("names", "DNS is not asked about callers: they are known by address", ""),
            ("TCP options", "TCP_NODELAY on both sides; a backlog of waiting connections", ""),
        ),
    )


def _annexes() -> Iterator[str]:
    yield "## Annex A: storage SOP Classes"
    yield storage.classes()
    yield "## Annex B: keys of C-FIND"
    yield query.keys()
    yield "## Annex C: objects, private attributes, templates"
    yield bullets(
        (
            "The node creates no SOP Instances; the command `demo` sends a made-up CT study.",
            "Extended, specialized and private SOP Classes, private attributes and transfer syntaxes of its own: "
            "none. Those of others are kept, and a "
            f"query key that is private is answered empty, with {claims.FIND[1].text}.",
            "Coded terminology, templates, grayscale image consistency (PS3.14): nothing is displayed or coded in "
            "DICOM. What reports and other documents contain is read for events: docs/fhir/imagingselection.md.",
        )
    )
