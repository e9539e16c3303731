"""The configuration as the values that the parts take: one function a part."""

from __future__ import annotations

import ipaddress
import os
import uuid
from dataclasses import replace
from pathlib import Path

from node.association.tls import TlsFiles
from node.completion import CompletionRules, QuietRule
from node.config import Config, plain
from node.envelope import Output
from node.errors import CannotStart, ConfigError
from node.fhir.targets import PROFILES
from node.index.engine import Engine
from node.objects.files import FileObjects
from node.peers import Identity, Peer, Peers
from node.publish import base, kafka, ndjson
from node.publish.kafka_options import KafkaOptions
from node.retention import RetentionOptions
from node.settings import PeerTable


def peers(config: Config) -> Peers:
    """[[peers]] and dicom.unknown_peers as values."""
    return Peers(
        [
            Peer(
                ae_title=peer.ae_title,
                network=ipaddress.ip_network(peer.address, strict=False) if peer.address else None,
                services=frozenset(peer.services),
                timezone=peer.timezone or None,
                charset=peer.charset or None,
                max_associations=peer.max_associations,
                identity=_identity(peer),
            )
            for peer in config.peers
        ],
        config.dicom.unknown_peers,
    )


def _identity(peer: PeerTable) -> Identity | None:
    if not peer.username:
        return None
    return Identity(peer.username, peer.password.get_secret_value() or None)


def rules(config: Config) -> CompletionRules:
    """[completion] as values."""
    completion = config.completion
    return CompletionRules(
        completion.quiet_seconds,
        completion.max_seconds,
        [QuietRule(**plain(rule)) for rule in completion.rules],
    )


def objects(config: Config, label: str = "") -> FileObjects:
    """[objects] as a store; ``label`` marks what one of several processes writes. Raises ``CannotStart``."""
    home = objects_home(config)
    durable = config.objects.durability == "fsync"
    try:
        return FileObjects(config.objects_path, home / "incoming", home / "quarantine", durable, label)
    except OSError as error:
        raise CannotStart([f"[objects] url: {error.filename} can't be written: {error.strerror}"]) from error


def objects_home(config: Config) -> Path:
    """Where incoming/ and quarantine/ lie. Objects move by rename, so that must be the file system of the
    objects; a folder outside of ``data_dir`` is often a mount of its own, and holds them itself."""
    root = config.objects_path
    return config.data_dir if root.parent == config.data_dir else root


def engine(config: Config) -> Engine:
    """[index] as an engine."""
    return Engine(config.index_url, "FULL" if config.objects.durability == "fsync" else "OFF")


def sink(config: Config) -> base.Publisher:
    """[events] as a publisher."""
    if config.events.sink == "ndjson":
        return ndjson.NdjsonPublisher(config.events_path)
    options = KafkaOptions(**plain(config.events.kafka))
    if options.transactional_id is None:
        options = replace(options, transactional_id=f"{options.client_id}-{node_id(config.data_dir)}")
    return kafka.KafkaPublisher(options)


def sink_remembers(config: Config) -> bool:
    """Whether only the sink knows what was published, once the index is lost."""
    return config.events.sink == "kafka" and config.events.kafka.exactly_once


def node_id(data_dir: Path) -> str:
    """What tells this node from others that use the same cluster: made once, kept beside the objects.

    Two nodes with one transactional id would fence each other off, and a node with a new one at each start
    could not tell what it had published before.
    """
    path = data_dir / "node-id"
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        made = str(uuid.uuid4())
        temporary = path.with_suffix(".new")
        with temporary.open("w") as file:
            file.write(made + "\n")
            file.flush()
            os.fsync(file.fileno())  # else a power loss may leave the name without the content
        temporary.replace(path)
        return made


def outputs(config: Config) -> list[Output]:
    """[[outputs]] with what their profiles fix; selections come after the studies that they select from."""
    configured = sorted(config.outputs, key=lambda one: PROFILES[one.profile].kind != "imagingstudy")
    return [
        Output(
            name=output.name,
            profile=output.profile,
            topic=output.topic,
            kind=PROFILES[output.profile].kind,
            fhir_version=PROFILES[output.profile].fhir_version,
        )
        for output in configured
    ]


def retention(config: Config) -> RetentionOptions:
    """[retention] as values."""
    return RetentionOptions(**dict(config.retention))


def tls(config: Config) -> TlsFiles | None:
    """[dicom.tls] as what its files hold now; None without that table.

    Raises ``ConfigError`` for files that can't be read or hold something else: a context can be made of the result.
    """
    tls = config.dicom.tls
    if tls is None:
        return None
    found = TlsFiles(
        certificate=_content(tls.certificate, "certificate"),
        key=_content(tls.key, "key"),
        key_password=tls.key_password.get_secret_value(),
    )
    try:
        found.context()
    except OSError as error:
        said = f"{tls.certificate} and {tls.key} are no PEM certificate and its key: {error}"
        raise ConfigError([f"[dicom.tls] certificate, key, key_password: {said}"]) from error
    if tls.client_ca:
        found = replace(found, client_ca=_content(tls.client_ca, "client_ca"))
        try:
            found.context()
        except OSError as error:
            said = f"{tls.client_ca} has no PEM certificates: {error}"
            raise ConfigError([f"[dicom.tls] client_ca: {said}"]) from error
    return found


def _content(path: str, key: str) -> bytes:
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise ConfigError([f"[dicom.tls] {key}: {path} can't be read: {error.strerror}"]) from error
    if not content:  # an empty client_ca must not stand for "anyone"
        raise ConfigError([f"[dicom.tls] {key}: {path} is empty"])
    return content
