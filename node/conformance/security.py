"""TLS, character sets and configuration in the statement."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from node.association.tls import CIPHERS
from node.config import Config
from node.conformance.markdown import blocks, bullets, code, table
from node.extract import charset
from node.legal import CHARACTER_SETS
from node.settings import Dicom, Objects, PeerTable, Table

# What CIPHERS stands for (IANA names), in TLS 1.2; those of TLS 1.3 are fixed by RFC 8446.
TLS_1_2: Final = (
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
)
TLS_1_3: Final = ("TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256", "TLS_AES_128_GCM_SHA256")


def security(config: Config) -> str:
    """Transport, identity, and what there is none of."""
    return blocks(
        "### 9.1 TLS",
        _tls(config),
        "### 9.2 Who may do what",
        bullets(
            (
                "By calling AE title and address, in `[[peers]]` (section 4.3).",
                "By user identity (PS3.7 D.3.3.7): user name, or user name and passcode, checked against the "
                "configuration. They cross the network as they are, so they want TLS.",
                "A certificate says who may connect; it is not tied to an AE title.",
            )
        ),
        "### 9.3 What there is none of",
        bullets(
            (
                "Audit trail messages (PS3.15 A.5): none. The log on stderr and the metrics say who called, what was "
                "stored and refused; neither holds patient data.",
                "Digital signatures (PS3.15 C): not made, not checked; kept as they are.",
                "De-identification (PS3.15 E): none. Events hold what the FHIR pages say; names of persons only with "
                "`fhir.include_names`.",
                "Encryption of what is stored: that of the file system, if it has any.",
            )
        ),
    )


def _tls(config: Config) -> str:
    tls = config.dicom.tls
    state = (
        "Not configured: associations are plain TCP."
        if tls is None
        else "In force, with certificates of callers (mutual)."
        if tls.client_ca
        else "In force; callers need no certificate."
    )
    return blocks(
        f"{state} With `[dicom.tls]` every connection to the port is TLS, as BCP 195 (RFC 8996, RFC "
        "9325) has it; this is what the BCP 195 RFC 8996, 9325 TLS Secure Transport Connection Profile (PS3.15 Annex "
        "B) asks for.",
        table(
            ("", "value"),
            (
                ("versions", "1.2 and 1.3"),
                ("cipher suites of TLS 1.2", code(TLS_1_2)),
                ("cipher suites of TLS 1.3", code(TLS_1_3)),
                ("OpenSSL's list behind them", f"`{CIPHERS}`"),
                ("renegotiation", "refused"),
                (
                    "certificates of callers",
                    "asked for with `dicom.tls.client_ca`, and checked against it; not checked for revocation",
                ),
                ("new certificates", "read on SIGHUP, for connections made from then on"),
                ("port", "the same as without; 2762 is the registered one"),
                ("requestor (`send`)", "plain TCP only"),
            ),
        ),
    )


def _by_number(term: str) -> tuple[str, str]:
    words = term.split()
    return words[0], words[-1].zfill(4)


def characters() -> str:
    """Specific Character Set: what is read, and what answers are written in."""
    terms: list[str] = sorted(map(str, CHARACTER_SETS), key=_by_number)
    return blocks(
        "Stored objects are kept as sent, whatever they declare. Their attributes are read, for queries and events, "
        "in these sets (PS3.3 C.12.1.1.2), with code extensions (ISO 2022) where they are declared:",
        code(terms),
        bullets(
            (
                "An object that declares none is read in the `charset` of its sender's `[[peers]]` entry, else in "
                f"`{charset.DEFAULT[0]}`, which covers the default repertoire and never fails. So is "
                "a term that nobody knows; spellings such as `ISO-IR 100` or `UTF-8` are understood.",
                "What can't be decoded becomes U+FFFD; it never keeps an object out.",
                "Keys of a query are read in the set that its identifier declares; if it declares none, or one that "
                "its bytes are not in, then as UTF-8 if they are that, else as Latin 1.",
                "Answers are written in the set of the study when it can hold all of the answer, else in `ISO_IR "
                "192`.",
                "Events and HTTP are UTF-8.",
            )
        ),
    )


_SHOWN: Final[tuple[tuple[str, type[Table]], ...]] = (("dicom", Dicom), ("objects", Objects))
_NOT_SHOWN: Final = frozenset(("tls", "timeouts", "url"))  # they have rows of their own, or name paths


def configuration(config: Config) -> str:
    """What can be set that matters to a peer, with what is in force."""
    return blocks(
        "Read from a TOML file and from `NODE_*` variables at start; `conf/node.toml` says what each key does. Of "
        "those that matter to a peer:",
        table(("key", "in force", "default"), _keys(config)),
        f"A `[[peers]]` entry has {code(PeerTable.model_fields)}; see section 4.3.",
    )


def _keys(config: Config) -> Iterator[tuple[str, str, str]]:
    for name, kind in _SHOWN:
        given, defaults = getattr(config, name), kind()
        for key in kind.model_fields:
            if key not in _NOT_SHOWN:
                yield f"`{name}.{key}`", _value(getattr(given, key)), _value(getattr(defaults, key))
    timeouts, usual = config.dicom.timeouts, Dicom().timeouts
    for key in type(timeouts).model_fields:
        yield f"`dicom.timeouts.{key}`", _value(getattr(timeouts, key)), _value(getattr(usual, key))
    yield "`dicom.tls`", "present" if config.dicom.tls else "absent", "absent"
    yield "`peers`", f"{len(config.peers)} entries", "0 entries"
    yield "`shutdown_seconds`", _value(config.shutdown_seconds), _value(Config().shutdown_seconds)


def _value(value: object) -> str:
    if isinstance(value, tuple):
        return code(value) or "none"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"
