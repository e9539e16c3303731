"""TLS, SASL and permissions against a broker so configured; what each mistake says, and that nothing is lost."""

from __future__ import annotations

import asyncio
import re
import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from node.errors import PublishUnavailable
from node.index.engine import Engine
from node.model import Event
from node.publish.kafka import KafkaPublisher
from node.publish.kafka_options import KafkaOptions
from tests.kafka_secure import CERTIFIED, PASSWORD, PRINCIPAL, USER, Authority, SecureBroker
from tests.publish.events import event
from tests.scenarios.delivery import commit, ids_of, nothing_left_behind, relaying, until_health

__all__ = ["nothing_left_behind"]

pytestmark = [pytest.mark.kafka, pytest.mark.openssl, pytest.mark.slow]


class Site:
    """The broker, its authority, and another authority that has nothing to do with it."""

    def __init__(self, folder: Path) -> None:
        self.authority = Authority(folder / "ours", "ours")
        self.other = Authority(folder / "other", "other")
        self.client = self.authority.issue("node", "DNS:node")
        self.stranger = self.other.issue("node", "DNS:node")
        (folder / "broker").mkdir()
        self.broker = SecureBroker(folder / "broker", self.authority)

    def topic(self) -> str:
        name = f"imaging-study-{uuid.uuid4()}"
        self.broker.create_topic(name)
        return name

    def options(self, port: int, **more: Any) -> KafkaOptions:
        given: dict[str, Any] = {
            "bootstrap_servers": f"127.0.0.1:{port}",
            "transactional_id": f"node-{uuid.uuid4()}",
            "request_timeout_seconds": 5.0,
            "security_protocol": "SASL_SSL",
            "sasl_mechanism": "SCRAM-SHA-512",
            "sasl_username": USER,
            "sasl_password": PASSWORD,
            "ssl_cafile": str(self.authority.certificate),
            **more,
        }
        return KafkaOptions(**given)

    def permit(self, options: KafkaOptions, topic: str, principal: str = PRINCIPAL) -> None:
        """All that a node needs, its cursor topic included."""
        self.prepare_cursor(options, principal)
        self.broker.allow("Topic", topic, "Write", "Describe", principal=principal)
        self.permit_transactions(options, principal)

    def permit_transactions(self, options: KafkaOptions, principal: str = PRINCIPAL) -> None:
        assert options.transactions
        self.broker.allow("TransactionalId", options.transactions, "Write", "Describe", principal=principal)

    def prepare_cursor(self, options: KafkaOptions, principal: str = PRINCIPAL) -> None:
        self.broker.create_topic(options.cursor_topic, 1, **{"cleanup.policy": "compact"})
        self.broker.allow("Topic", options.cursor_topic, "Write", "Describe", "Read", principal=principal)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    made = Site(tmp_path_factory.mktemp("secure"))
    with made.broker:
        for mechanism in ("SCRAM-SHA-256", "SCRAM-SHA-512"):
            made.broker.set_password(mechanism)
        yield made


def _delivered(engine: Engine, options: KafkaOptions, sent: Event) -> None:
    _after_trouble(engine, options, [sent], None, lambda: None)


def _after_trouble(
    engine: Engine,
    options: KafkaOptions,
    events: list[Event],
    trouble: str | None,
    mend: Callable[[], object],
) -> list[Any]:
    """Relay ``events``: the sink's state says ``trouble``, and they are out after ``mend``. Returns what was
    logged before that."""
    lines: list[Any] = []

    async def run() -> None:
        async with relaying(engine, options) as (relay, metrics):
            await commit(engine, relay, *events)
            if trouble is not None:
                health = await until_health(relay, lambda state: re.search(trouble, state.last_error or ""))
                assert (health.pending, health.parked) == (len(events), 0)
                assert health.stuck_since is not None
                lines.extend(captured)
                await asyncio.to_thread(mend)
            await metrics.until(lambda: len(metrics.out) == len(events))
            assert metrics.set_aside == []

    with structlog.testing.capture_logs() as captured:
        asyncio.run(run())
    return lines


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
def test_sasl_over_tls(engine: Engine, site: Site, mechanism: str) -> None:
    sent = event(topic=site.topic())
    options = site.options(site.broker.sasl, sasl_mechanism=mechanism)
    site.permit(options, sent.topic)
    _delivered(engine, options, sent)
    assert ids_of(site.broker.read_all(sent.topic)) == [sent.id]


def test_sasl_without_tls_and_without_transactions(engine: Engine, site: Site) -> None:
    sent = event(topic=site.topic())
    options = site.options(site.broker.sasl_plain, security_protocol="SASL_PLAINTEXT", exactly_once=False)
    site.broker.allow("Topic", sent.topic, "Write", "Describe")
    _delivered(engine, options, sent)
    assert ids_of(site.broker.read_all(sent.topic)) == [sent.id]


def _certified(site: Site, **more: Any) -> KafkaOptions:
    certificate, key = site.client
    given = {"ssl_certfile": str(certificate), "ssl_keyfile": str(key), **more}
    return site.options(site.broker.tls, security_protocol="SSL", **given)


def test_mutual_tls(engine: Engine, site: Site) -> None:
    sent = event(topic=site.topic())
    options = _certified(site)
    site.permit(options, sent.topic, CERTIFIED)
    _delivered(engine, options, sent)
    assert ids_of(site.broker.read_all(sent.topic)) == [sent.id]


def test_a_wrong_password_waits_until_it_is_right(engine: Engine, site: Site) -> None:
    sent = event(topic=site.topic())
    options = site.options(site.broker.sasl, sasl_mechanism="SCRAM-SHA-256", sasl_password="changed")
    site.permit(options, sent.topic)
    said = "SaslAuthenticationFailed.*user name or password refused: correct sasl_username and sasl_password"
    try:
        lines = _after_trouble(
            engine, options, [sent], said, lambda: site.broker.set_password("SCRAM-SHA-256", "changed")
        )
    finally:
        site.broker.set_password("SCRAM-SHA-256")
    assert ids_of(site.broker.read_all(sent.topic)) == [sent.id]
    (line,) = [line for line in lines if line["log_level"] in ("warning", "error")]
    assert line["event"] == "delivery_interrupted"
    assert re.search(said, line["error"])
    assert "delivery goes on by itself" in line["hint"]
    assert "changed" not in str(lines)


def test_an_authority_that_is_not_the_brokers(engine: Engine, site: Site, tmp_path: Path) -> None:
    sent = event(topic=site.topic())
    trusted = tmp_path / "ca.pem"
    shutil.copy(site.other.certificate, trusted)
    options = site.options(site.broker.sasl, ssl_cafile=str(trusted))
    site.permit(options, sent.topic)
    said = "CERTIFICATE_VERIFY_FAILED.*not of an authority that ssl_cafile names"
    _after_trouble(engine, options, [sent], said, lambda: shutil.copy(site.authority.certificate, trusted))
    assert ids_of(site.broker.read_all(sent.topic)) == [sent.id]


def _swap_certificate(site: Site, folder: Path) -> tuple[KafkaOptions, Callable[[], object]]:
    """A node whose certificate is another authority's, and what corrects that."""
    files = [folder / "node.pem", folder / "node.key"]
    for source, target in zip(site.stranger, files, strict=True):
        shutil.copy(source, target)

    def mend() -> None:
        for source, target in zip(site.client, files, strict=True):
            shutil.copy(source, target)

    return _certified(site, ssl_certfile=str(files[0]), ssl_keyfile=str(files[1])), mend


def test_a_certificate_that_the_broker_does_not_trust(engine: Engine, site: Site, tmp_path: Path) -> None:
    sent = event(topic=site.topic())
    options, mend = _swap_certificate(site, tmp_path)
    site.permit(options, sent.topic, CERTIFIED)
    _after_trouble(engine, options, [sent], "ssl_certfile|certificates", mend)
    assert ids_of(site.broker.read_all(sent.topic)) == [sent.id]


# What is configured -> what the sink's state says; each before anything is sent.
MISTAKES = {
    "host-name": (
        {"bootstrap_servers": "localhost:{sasl}"},
        "certificate is for another host name: use the certificate's name in bootstrap_servers",
    ),
    "no-certificate": (
        {"bootstrap_servers": "127.0.0.1:{tls}", "security_protocol": "SSL"},
        "certificate",
    ),
    "tls-to-a-plain-port": ({"bootstrap_servers": "127.0.0.1:{port}"}, "security_protocol"),
    "plain-to-a-tls-port": (
        {"bootstrap_servers": "127.0.0.1:{sasl}", "security_protocol": "PLAINTEXT"},
        "security_protocol",
    ),
    "sasl-to-a-plain-port": (
        {"bootstrap_servers": "127.0.0.1:{port}", "security_protocol": "SASL_PLAINTEXT"},
        "wants no SASL: correct security_protocol",
    ),
    "no-listener": ({"bootstrap_servers": "127.0.0.1:1"}, "nothing listens there"),
    "no-such-host": ({"bootstrap_servers": "kafka.invalid:9092"}, "no such host"),
    "missing-file": ({"ssl_cafile": "/nowhere/ca.pem"}, "ssl_cafile"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_each_mistake_says_what_to_correct(site: Site, mistake: str) -> None:
    changes, said = MISTAKES[mistake]
    ports = {"sasl": site.broker.sasl, "tls": site.broker.tls, "port": site.broker.port}
    given = {name: value.format(**ports) for name, value in changes.items()}

    async def run() -> str:
        publisher = KafkaPublisher(site.options(site.broker.sasl, **given))
        try:
            with pytest.raises(PublishUnavailable) as raised:
                await publisher.start()
        finally:
            await publisher.stop()
        return str(raised.value)

    assert re.search(said, asyncio.run(run()))


@pytest.mark.parametrize("once", [True, False], ids=["exactly-once", "idempotent"])
@pytest.mark.parametrize("rights", [(), ("Describe",)], ids=["no-right", "only-describe"])
def test_a_topic_without_permission_waits_alone(
    engine: Engine, site: Site, rights: tuple[str, ...], once: bool
) -> None:
    closed, open_topic = site.topic(), site.topic()
    options = site.options(site.broker.sasl, exactly_once=once)
    if once:
        site.permit(options, open_topic)
    site.broker.allow("Topic", open_topic, "Write", "Describe")
    if rights:
        site.broker.allow("Topic", closed, *rights)
    denied = [event("1.2.1", version, closed) for version in (1, 2)]
    others = [event(f"1.2.{n}", 1, open_topic) for n in range(3, 6)]

    async def run() -> None:
        async with relaying(engine, options) as (relay, metrics):
            await commit(engine, relay, denied[0], *others, denied[1])
            await metrics.until(lambda: len(metrics.out) == 3)
            health = await asyncio.to_thread(relay.health)
            assert (health.pending, health.parked) == (2, 0)
            assert closed in (health.last_error or "")
            assert "no right to the topic: Write and Describe" in (health.last_error or "")
            await asyncio.to_thread(site.broker.allow, "Topic", closed, "Write", "Describe")
            await metrics.until(lambda: len(metrics.out) == 5)
            assert metrics.set_aside == []

    asyncio.run(run())
    assert ids_of(site.broker.read_all(closed)) == [sent.id for sent in denied]
    assert sorted(ids_of(site.broker.read_all(open_topic))) == [sent.id for sent in others]


def test_no_right_to_the_transactional_id(engine: Engine, site: Site) -> None:
    sent = event(topic=site.topic())
    options = site.options(site.broker.sasl)
    site.prepare_cursor(options)
    site.broker.allow("Topic", sent.topic, "Write", "Describe")
    said = "no right to the transactional id: Write and Describe on TransactionalId"
    _after_trouble(engine, options, [sent], said, lambda: site.permit_transactions(options))
    assert ids_of(site.broker.read_all(sent.topic)) == [sent.id]
