"""What a configuration comes to: a summary in words, warnings, and whether the files that it names are of use."""

from __future__ import annotations

import ipaddress
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from rich.console import Console
from rich.table import Table

from node import wiring
from node.cli import words
from node.config import Config, plain
from node.errors import ConfigError, NodeError
from node.publish.kafka_client import connection
from node.publish.kafka_options import KafkaOptions
from node.settings import PeerTable


def check_files(config: Config) -> None:
    """Certificates and keys can be read and belong together. Raises ``ConfigError``."""
    wiring.tls(config)
    if config.events.sink == "kafka":
        try:
            connection(KafkaOptions(**plain(config.events.kafka)))
        except NodeError as error:
            raise ConfigError([str(error)]) from error


def print_summary(config: Config, console: Console) -> None:
    """One line a question: where it listens, what it keeps where, who may call, what goes where."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, tell in _LINES:
        for number, line in enumerate(tell(config)):
            table.add_row("" if number else name, line)
    console.print(table, soft_wrap=False)


def print_warnings(config: Config, console: Console) -> None:
    """What is legal but may not be meant, a line each."""
    for warning in warnings(config):
        console.print(f"warning: {warning}", style="yellow", markup=False)


def warnings(config: Config) -> list[str]:
    """Each with the key to change."""
    return [text for rule in _WARNINGS if rule.applies(config) for text in (rule.text(config),)]


# --- the summary


def _listens(config: Config) -> Iterator[str]:
    dicom = config.dicom
    titles = " or ".join((dicom.ae_title, *dicom.aliases))
    yield f"{titles} on {_address(dicom.host, dicom.port)}, {dicom.max_associations} associations at most"
    if dicom.tls is None:
        yield "without TLS"
    elif dicom.tls.client_ca:
        yield f"TLS, callers with a certificate of {dicom.tls.client_ca}"
    else:
        yield f"TLS ({dicom.tls.certificate}), any caller"


def _callers(config: Config) -> Iterator[str]:
    for peer in config.peers:
        yield _caller(peer)
    services = config.dicom.unknown_peers
    who = "everybody else" if config.peers else "everybody"
    yield f"{who}: {', '.join(services)}" if services else f"{who} is rejected"


def _caller(peer: PeerTable) -> str:
    at = f" from {peer.address}" if peer.address else ""
    limits = f", {peer.max_associations} associations at most" if peer.max_associations else ""
    identity = ", by user name" if peer.username else ""
    return f"{peer.ae_title}{at}: {', '.join(peer.services) or 'nothing'}{limits}{identity}"


def _stores(config: Config) -> Iterator[str]:
    durability = "synced before the answer" if config.objects.durability == "fsync" else "not synced"
    yield f"{config.objects_path}, {durability}"
    found = _disk(config.objects_path)
    if found is None:
        return
    folder, free = found
    least = words.size(config.objects.min_free_bytes)
    yield f"{words.size(free)} free at {folder}; new associations are refused below {least}"


def _disk(path: Path) -> tuple[Path, int] | None:
    """The nearest folder that exists, and the bytes free there."""
    for folder in (path, *path.absolute().parents):
        if folder.is_dir():
            return folder, shutil.disk_usage(folder).free
    return None


def _deletes(config: Config) -> Iterator[str]:
    retention = config.retention
    if retention.max_age_days:
        yield f"objects of studies published more than {retention.max_age_days:g} days ago"
    if retention.min_free_bytes:
        yield f"objects of the oldest published studies below {words.size(retention.min_free_bytes)} free"
    if not retention.max_age_days and not retention.min_free_bytes:
        yield "nothing"


def _completes(config: Config) -> Iterator[str]:
    completion = config.completion
    yield f"after {words.duration(completion.quiet_seconds)} without anything new, at the latest after " + (
        words.duration(completion.max_seconds)
    )
    for rule in completion.rules:
        selectors = (("from", rule.calling_ae), ("to", rule.called_ae), ("with", rule.modality))
        which = " ".join(f"{word} {value}" for word, value in selectors if value)
        yield f"studies {which}: after {words.duration(rule.quiet_seconds)}"


def _publishes(config: Config) -> Iterator[str]:
    events = config.events
    if events.sink == "ndjson":
        yield f"to the file {config.events_path}"
        names = ", ".join(f"{output.name} ({output.profile})" for output in config.outputs)
        yield f"outputs: {names}"
        return
    kafka = events.kafka
    once = "exactly once" if kafka.exactly_once else "at least once"
    yield f"to Kafka at {kafka.bootstrap_servers}, {kafka.security_protocol}, {once}"
    for output in config.outputs:
        yield f"output {output.name} ({output.profile}) to topic {output.topic}"
    yield f"topics that are missing are {'created' if kafka.create_topics else 'waited for'}"


def _http(config: Config) -> Iterator[str]:
    http = config.http
    token = "commands need the token" if http.token.get_secret_value() else "commands need no token"
    yield f"http://{_address(http.host, http.port)}/, {token}"


_LINES: Final[tuple[tuple[str, Callable[[Config], Iterator[str]]], ...]] = (
    ("listens", _listens),
    ("callers", _callers),
    ("stores", _stores),
    ("deletes", _deletes),
    ("completes", _completes),
    ("publishes", _publishes),
    ("web and API", _http),
)


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port or 'any'}" if ":" in host else f"{host}:{port or 'any'}"


# --- warnings


class _Warning(NamedTuple):
    applies: Callable[[Config], bool]
    text: Callable[[Config], str]


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _unwritable(config: Config) -> Path | None:
    """The folder that would have to be written and can't be, by whoever runs this."""
    found = _disk(config.objects_path)
    return found[0] if found is not None and not os.access(found[0], os.W_OK | os.X_OK) else None


def _low(config: Config) -> bool:
    found = _disk(config.objects_path)
    return found is not None and found[1] < config.objects.min_free_bytes


_WARNINGS: Final = (
    _Warning(
        lambda c: c.objects.durability == "none",
        lambda _: '[objects] durability = "none": objects answered with success can be lost; it is for tests',
    ),
    _Warning(
        lambda c: bool(c.dicom.unknown_peers) and not _loopback(c.dicom.host) and c.dicom.tls is None,
        lambda c: (
            f"[dicom] unknown_peers: whoever reaches {_address(c.dicom.host, c.dicom.port)} may "
            f"{', '.join(c.dicom.unknown_peers)}; list your callers in [[peers]] and set it to []"
        ),
    ),
    _Warning(
        lambda c: "find" in c.dicom.unknown_peers and not _loopback(c.dicom.host),
        lambda _: "[dicom] unknown_peers: find tells callers that nobody knows who the patients are",
    ),
    _Warning(
        lambda c: not _loopback(c.http.host) and not c.http.allowed_hosts,
        lambda _: "[http] allowed_hosts: any host name is taken (DNS rebinding); list those of this node",
    ),
    _Warning(
        lambda c: any(peer.username for peer in c.peers) and c.dicom.tls is None,
        lambda _: "[[peers]] username: names and passwords cross the network as they are; use [dicom.tls]",
    ),
    _Warning(
        lambda c: 0 < c.retention.min_free_bytes <= c.objects.min_free_bytes,
        lambda _: (
            "[retention] min_free_bytes: is not above objects.min_free_bytes, so nothing is received before it deletes"
        ),
    ),
    _Warning(
        lambda c: c.events.sink == "kafka" and not c.events.kafka.exactly_once,
        lambda _: "[events.kafka] exactly_once = false: a crash may publish an event twice, under one id",
    ),
    _Warning(
        lambda c: _unwritable(c) is not None,
        lambda c: f"[objects] url: {_unwritable(c)} can't be written by this user; the node's user must",
    ),
    _Warning(
        _low,
        lambda c: (
            f"[objects] min_free_bytes: less than {words.size(c.objects.min_free_bytes)} is free: "
            "every association would be refused"
        ),
    ),
)
