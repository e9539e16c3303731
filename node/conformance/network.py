"""Associations in the statement: who is let in, what is agreed, how they end; as acceptor and as
requestor."""

from __future__ import annotations

from collections.abc import Iterator

from node.association import listener, negotiation, protocol
from node.config import Config
from node.conformance import claims
from node.conformance.markdown import blocks, bullets, code, table
from node.conformance.names import sop_class_name, transfer_syntax_name
from node.services.base import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from node.services.find import MODELS
from node.services.send import SendOptions, requestor


def accepting(config: Config) -> str:
    """The association policies of the acceptor."""
    return blocks(
        "### 4.2 Associations",
        table(("", "value", "key"), _policies(config)),
        "### 4.3 Who is let in",
        bullets(_acceptance(config)),
        _peers(config),
        "A-ASSOCIATE-RJ that the node sends:",
        table(
            ("result/source/reason", "meaning", "when"),
            (("/".join(map(str, row.code)), row.meaning, row.when) for row in claims.REJECTIONS),
        ),
        "### 4.4 Presentation contexts",
        table(
            ("SOP Class", "UID", "transfer syntaxes", "role", "extended negotiation"), _accepted_contexts()
        ),
        bullets(_contexts()),
        table(
            ("result", "meaning", "when"),
            ((row.code, row.meaning, row.when) for row in claims.CONTEXT_RESULTS),
        ),
        "### 4.5 Other negotiation",
        table(("item", "answer"), _negotiation()),
        "### 4.6 How associations end",
        bullets(_endings(config)),
        table(
            ("source/reason", "meaning", "when"),
            (("/".join(map(str, row.code)), row.meaning, row.when) for row in claims.ABORTS),
        ),
    )


def _policies(config: Config) -> Iterator[tuple[str, object, str]]:
    dicom = config.dicom
    yield "initiates associations", "never: the command `send` does (section 5)", ""
    yield "application context", f"`{negotiation.APPLICATION_CONTEXT}`", ""
    yield "associations at a time, as acceptor", dicom.max_associations, "`dicom.max_associations`"
    yield (
        "connections that have not negotiated yet, besides those, in each receiver",
        listener.MAX_PENDING,
        "",
    )
    yield "presentation contexts in one proposal", negotiation.MAX_CONTEXTS, ""
    yield "maximum PDU length announced, and taken", f"{dicom.max_pdu} bytes", "`dicom.max_pdu`"
    yield "longest A-ASSOCIATE-RQ", f"{max(dicom.max_pdu, protocol.ASSOCIATE_BOUND)} bytes", ""
    yield "longest command set", f"{protocol.COMMAND_BOUND} bytes", ""
    yield "outstanding operations (asynchronous window)", "1 invoked, 1 performed: not negotiated", ""
    yield "Implementation Class UID", f"`{IMPLEMENTATION_CLASS_UID}`", ""
    yield "Implementation Version Name", f"`{IMPLEMENTATION_VERSION_NAME}`", ""
    timeouts = dicom.timeouts
    yield (
        "timeout, from the TCP connection (TLS included) to the end of negotiation",
        f"{timeouts.handshake:g} s",
        "`dicom.timeouts.handshake`",
    )
    yield "timeout, nothing received between messages", f"{timeouts.idle:g} s", "`dicom.timeouts.idle`"
    yield (
        "timeout, inside a message: nothing received, a PDU that does not end, an answer that is not read",
        f"{timeouts.transfer:g} s",
        "`dicom.timeouts.transfer`",
    )


def _acceptance(config: Config) -> Iterator[str]:
    titles = code((config.dicom.ae_title, *config.dicom.aliases))
    yield f"Called AE title: {titles} (`dicom.ae_title`, `dicom.aliases`); another one is rejected."
    yield (
        "Calling AE title and address are looked up in `[[peers]]`, the first entry that matches counts. An AE title "
        "is compared with its case, without the spaces around it."
    )
    unknown = config.dicom.unknown_peers
    allowed = f"may use: {', '.join(unknown)}" if unknown else "are rejected"
    yield f"Callers without an entry {allowed} (`dicom.unknown_peers`)."
    yield (
        "A caller's services decide about requests, not about presentation contexts: a context is accepted whoever "
        "proposes it, and a request that the caller may not make is answered 0x0124."
    )


def _peers(config: Config) -> str:
    if not config.peers:
        return "No `[[peers]]` entry is configured."
    return table(
        (
            "calling AE title",
            "address",
            "services",
            "associations",
            "user identity",
            "time zone",
            "character set",
        ),
        (
            (
                f"`{peer.ae_title}`",
                peer.address or "any",
                ", ".join(peer.services) or "none: rejected",
                peer.max_associations or "the node's limit",
                ("user name and password" if peer.password.get_secret_value() else "user name")
                if peer.username
                else "not asked for",
                peer.timezone or "",
                peer.charset or "",
            )
            for peer in config.peers
        ),
    )


def _accepted_contexts() -> Iterator[tuple[str, str, str, str, str]]:
    """The table of presentation contexts that PS3.2 asks for."""
    syntaxes = ", ".join(f"{transfer_syntax_name(uid)} (`{uid}`)" for uid in negotiation.MESSAGE_SYNTAXES)
    for uid in (negotiation.VERIFICATION, *MODELS):
        yield sop_class_name(uid), f"`{uid}`", syntaxes, "SCP", "none"
    below = f"below `{negotiation.STORAGE_ROOT}`"
    private = f"any legal UID not below `{negotiation.DICOM_ROOT}`"
    for name, which in (
        ("every storage SOP Class of PS3.6, retired ones too", "annex A"),
        ("storage SOP Classes that PS3.6 did not know when this version was made", below),
        ("every private SOP Class", private),
    ):
        yield name, which, "any, private ones too", "SCP", "none"


def _contexts() -> Iterator[str]:
    yield (
        "Storage: of the transfer syntaxes proposed in one context the first, in the requestor's order, that is a "
        "legal UID. Bytes are kept as they are sent."
    )
    yield (
        "Verification and queries: of those proposed in one context the first in the order of the table, whatever the "
        "requestor's."
    )
    yield (
        "Each context is decided on by itself: the same SOP Class may be proposed in several, with one transfer syntax "
        "each. All that is supported is accepted; nothing is chosen between."
    )


def _negotiation() -> Iterator[tuple[str, str]]:
    yield (
        "SCP/SCU role selection (PS3.7 D.3.3.4)",
        "the requestor is the SCU: a proposed SCP role is answered 0, the SCU role 1",
    )
    yield (
        "asynchronous operations window (D.3.3.3)",
        "not answered: one operation at a time. Requests that come early wait their turn",
    )
    yield "SOP Class extended negotiation (D.3.3.5)", "not answered: no extended behaviour"
    yield (
        "SOP Class common extended negotiation (D.3.3.6)",
        "ignored; it does not matter for what is accepted",
    )
    yield (
        "user identity (D.3.3.7)",
        "types 1 (user name) and 2 (user name and passcode) are checked where the caller's `[[peers]]` entry has a "
        "`username`, with a positive response when one is asked for; elsewhere every identity is let through "
        "unchecked and without a response. Types 3, 4 and 5 can't be checked: where an identity is asked for they "
        "are rejected",
    )
    yield "items that PS3.8 and PS3.7 do not define", "ignored"


def _endings(config: Config) -> Iterator[str]:
    yield (
        "A-RELEASE-RQ is answered with A-RELEASE-RP; the requestor closes the connection. The node never asks for "
        "release."
    )
    yield (
        "An association that ends inside an object leaves nothing of it. One that ends before the answer was read "
        "may have stored it: sending it again is harmless."
    )
    yield (
        f"When the node stops it accepts no more, and gives open associations {config.shutdown_seconds:g} s to "
        "end (`shutdown_seconds`); then their connections are cut."
    )


def requesting() -> str:
    """The association policies of the requestor (`dicom-fhir-node send`)."""
    options = SendOptions()
    return blocks(
        table(
            ("", "value"),
            (
                (
                    "initiated by",
                    "a person or a script that runs the command; the node itself never initiates any",
                ),
                ("associations at a time", f"{options.associations} (`--associations`, up to 64)"),
                ("calling AE title", f"`{options.calling_ae}` (`--calling`)"),
                (
                    "presentation contexts",
                    f"one for each pair of SOP Class and transfer syntax, {requestor.MAX_CONTEXTS} at most; "
                    "more go in turns",
                ),
                (
                    "transfer syntax",
                    "the one that the file has; nothing is converted, and objects whose context is refused are "
                    "reported",
                ),
                ("maximum PDU length announced", f"{requestor.ANNOUNCED_PDU} bytes"),
                ("longest PDU sent", f"what the acceptor announced, {requestor.LARGEST_PDU} bytes at most"),
                ("outstanding operations", "1: not negotiated"),
                ("role selection, extended negotiation, user identity", "not proposed"),
                ("Implementation Class UID", f"`{IMPLEMENTATION_CLASS_UID}`"),
                ("Implementation Version Name", f"`{IMPLEMENTATION_VERSION_NAME}`"),
                ("timeout of each wait", f"{options.timeout:g} s (`--timeout`)"),
                (
                    "after a lost association",
                    f"up to {options.retries} new ones without an answer between them (`--retries`), the first "
                    f"after {options.retry_seconds:g} s, each later one after twice as long; what had an answer "
                    "is not sent again",
                ),
                (
                    "after a rejection",
                    "a transient one counts as a lost association, a permanent one ends the work",
                ),
            ),
        ),
        "C-STORE-RSP: success and warnings (0xB000, 0xB006, 0xB007 and the like) count as stored; every other status "
        "is reported with its comment, and the next object is sent. The command ends with 1 when anything was not "
        "stored.",
    )
