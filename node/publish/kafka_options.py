"""How to reach Kafka and what to promise there: the values behind [events.kafka]."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

# org.apache.kafka.common.internals.Topic; a broker's answer to another name does not reach the caller.
_TOPIC: Final = re.compile(r"[a-zA-Z0-9._-]{1,249}")


@dataclass(frozen=True, slots=True)
class KafkaOptions:
    """[events.kafka], under the names that Kafka clients use; sizes in bytes. What is legal is
    ``settings.Kafka``'s business."""

    bootstrap_servers: str = "localhost:9092"
    security_protocol: str = "PLAINTEXT"
    sasl_mechanism: str = "PLAIN"
    sasl_username: str | None = None
    sasl_password: str | None = field(default=None, repr=False)
    ssl_cafile: str | None = None
    ssl_certfile: str | None = None
    ssl_keyfile: str | None = None
    ssl_password: str | None = field(default=None, repr=False)
    compression: str = "lz4"
    client_id: str = "dicom-fhir-node"
    # One per node on a cluster: a second node with the same id would fence the first one off.
    transactional_id: str | None = None
    exactly_once: bool = True
    # Whether the node may make the topics it needs; ``replication_factor`` 0 is up to three replicas.
    create_topics: bool = False
    partitions: int = 3
    replication_factor: int = 0
    # The broker's own message.max.bytes decides: it applies after compression, this one before.
    max_request_size: int = 16 * 1024 * 1024
    request_timeout_seconds: float = 30.0

    @property
    def transactions(self) -> str | None:
        """The transactional id to use, None when events are published idempotently without transactions."""
        return (self.transactional_id or self.client_id) if self.exactly_once else None

    @property
    def cursor_topic(self) -> str:
        """The compacted topic that says what the node has published."""
        return re.sub(r"[^a-zA-Z0-9._-]", "_", self.transactions or "")[:200] + "-cursor"


def legal_topic(name: str) -> bool:
    """Whether Kafka allows a topic of this name."""
    return _TOPIC.fullmatch(name) is not None and name not in (".", "..")
