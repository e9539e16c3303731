"""Configuration as values: the same names and defaults, and what can't be used is refused with its key."""

from __future__ import annotations

import json
from dataclasses import fields
from ipaddress import ip_network
from pathlib import Path

import pytest
from pydantic import SecretStr

from node import settings, wiring
from node.completion import CompletionRules, QuietRule
from node.config import Config, load, plain
from node.errors import ConfigError
from node.fhir import targets
from node.fhir.options import FhirOptions
from node.peers import Peer
from node.publish.kafka_options import KafkaOptions


def test_fhir_keys_and_defaults_are_those_of_the_options() -> None:
    assert settings.Fhir().options() == FhirOptions()
    assert set(settings.Fhir.model_fields) == {field.name for field in fields(FhirOptions)}


def test_kafka_keys_and_defaults_are_those_of_the_options() -> None:
    assert KafkaOptions(**plain(settings.Kafka())) == KafkaOptions()
    assert set(settings.Kafka.model_fields) == {field.name for field in fields(KafkaOptions)}


def test_rules_become_the_rules_of_completion() -> None:
    rule = {"modality": "US", "quiet_seconds": 300}
    found = wiring.rules(load(None, {"NODE_COMPLETION__RULES": json.dumps([rule])}))
    assert found == CompletionRules(60, 7200, [QuietRule(quiet_seconds=300, modality="US")])
    assert set(settings.CompletionRule.model_fields) == {field.name for field in fields(QuietRule)}


def test_peers_become_the_peers_that_callers_are_found_among() -> None:
    entry = {"ae_title": "CT?", "address": "10.0.0.0/8", "services": ["find"], "timezone": "Asia/Tokyo"}
    found = wiring.peers(load(None, {"NODE_PEERS": json.dumps([entry])}))
    assert found.find("CT1", "10.1.2.3") == Peer(
        "CT?", ip_network("10.0.0.0/8"), frozenset(("find",)), "Asia/Tokyo", None
    )
    assert found.find("CT1", "11.1.2.3").services == {"echo", "store"}


def test_profiles_are_those_that_can_be_built() -> None:
    for profile in targets.PROFILES:
        assert settings.Output(name="a", profile=profile, topic="t").profile == profile


def test_plain_reveals_secrets_and_empties() -> None:
    table = settings.Kafka(sasl_password=SecretStr("p"))
    assert (plain(table)["sasl_password"], plain(table)["sasl_username"]) == ("p", None)
    assert plain(table)["exactly_once"] is True


# --- the store


def objects_in(data_dir: Path, url: str = "") -> Config:
    return load(None, {"NODE_DATA_DIR": str(data_dir), "NODE_OBJECTS__URL": url})


@pytest.mark.parametrize("named", [False, True])
def test_objects_in_data_dir_have_incoming_beside_them(tmp_path: Path, named: bool) -> None:
    wiring.objects(objects_in(tmp_path, str(tmp_path / "objects") if named else "")).close()
    assert {path.name for path in tmp_path.iterdir()} == {"objects", "incoming", "quarantine"}


def test_objects_elsewhere_have_incoming_on_their_own_file_system(tmp_path: Path) -> None:
    """The folder may be where a disk is mounted; nothing can be renamed into it from its parent."""
    disk = tmp_path / "mount" / "disk"
    store = wiring.objects(objects_in(tmp_path / "var", str(disk)))
    assert {path.name for path in disk.iterdir()} == {"incoming", "quarantine"}
    assert [path.name for path in disk.parent.iterdir()] == ["disk"]
    assert store.is_empty(), "these folders are no studies"
    store.close()


def test_a_store_that_can_not_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"\[objects\] url: .*file.* can't be written"):
        wiring.objects(objects_in(tmp_path, str(tmp_path / "file")))


# --- the rest


def test_a_node_keeps_its_id(tmp_path: Path) -> None:
    made = wiring.node_id(tmp_path)
    assert wiring.node_id(tmp_path) == made
    assert [path.name for path in tmp_path.iterdir()] == ["node-id"]
    (tmp_path / "other").mkdir()
    assert wiring.node_id(tmp_path / "other") != made


@pytest.mark.openssl
@pytest.mark.parametrize("broken", ["certificate", "key", "client_ca"])
def test_certificates_that_are_none_are_named(
    tmp_path: Path, broken: str, certificate: tuple[Path, Path]
) -> None:
    junk = tmp_path / "junk.pem"
    junk.write_text("no certificate")
    paths = dict(zip(("certificate", "key"), certificate, strict=True)) | {"client_ca": certificate[0]}
    assert wiring.tls(load(None, {"NODE_DICOM__TLS": json.dumps(paths, default=str)})) is not None
    table = json.dumps(paths | {broken: junk}, default=str)
    with pytest.raises(ConfigError, match=rf"\[dicom\.tls\] .*{broken}.*junk\.pem"):
        wiring.tls(load(None, {"NODE_DICOM__TLS": table}))
