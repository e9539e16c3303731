"""One real Apache Kafka process (KRaft, loopback, free ports) that tests start, stop and start again.

Its jars come from Maven Central once and stay in ``build/kafka-libs``.
"""

from __future__ import annotations

import base64
import string
import subprocess
import threading
import time
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest
from confluent_kafka import Consumer, IsolationLevel, KafkaError, Message, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic, OffsetSpec

from tests import jars
from tests.ports import free_port

_SETUP = jars.KAFKA.pom.parent

_START_SECONDS = 60.0
_STOP_SECONDS = 30.0


class KafkaBroker:
    """A broker with its data in ``folder``; its ports stay the same over restarts.

    ``overrides`` are broker settings; ``extra.listeners`` is no setting of Kafka's but adds to both lists of
    listeners, ``advertised`` is where clients are told to come instead of ``port``, ``plain_name`` the name of
    the listener there.
    """

    def __init__(
        self,
        folder: Path,
        overrides: Mapping[str, str] | None = None,
        *,
        advertised: int | None = None,
        plain_name: str = "PLAINTEXT",
    ) -> None:
        self._folder = folder
        self._libs = jars.jars(jars.KAFKA)
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None
        self._started = threading.Event()
        self._output: list[str] = []
        self.port = free_port()
        self._overrides = dict(overrides or {})
        self._advertised = advertised
        self._plain_name = plain_name
        self._controller_port = free_port()
        self._properties = folder / "server.properties"
        self._configure()
        self._format()

    def _configure(self) -> None:
        template = string.Template((_SETUP / "server.properties").read_text())
        extra = self._overrides.get("extra.listeners")
        lines = template.substitute(
            plain=self._plain_name,
            broker_port=self.port,
            advertised_port=self._advertised or self.port,
            controller_port=self._controller_port,
            extra=f",{extra}" if extra else "",
            data_dir=self._folder / "data",
        ).splitlines()
        # the last one of a key holds
        lines += [f"{key}={value}" for key, value in self._overrides.items() if key != "extra.listeners"]
        self._properties.write_text("\n".join(lines) + "\n")

    def move(self, port: int) -> None:
        """Another port from the next start on, with the same data."""
        assert self._process is None, "stop it first"
        self.port = port
        self._configure()

    @property
    def bootstrap(self) -> str:
        """``host:port`` for clients."""
        return f"127.0.0.1:{self.port}"

    def _java(self, main: str, *arguments: str) -> list[str]:
        level = "-Dorg.slf4j.simpleLogger."
        return [
            "java", "-Xmx512m", "-XX:TieredStopAtLevel=1", "-cp", f"{self._libs}/*",
            f"{level}defaultLogLevel=warn", f"{level}log.kafka.server.KafkaRaftServer=info",
            main, *arguments,
        ]  # fmt: skip

    def _format(self) -> None:
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")  # as Kafka writes a Uuid
        tool = self._java("kafka.tools.StorageTool", "format", "--standalone")
        made = subprocess.run(
            [*tool, f"--cluster-id={cluster}", "-c", str(self._properties)],  # it may begin with "-"
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        assert made.returncode == 0, f"Kafka's storage was not formatted:\n{made.stdout}"

    def start(self) -> None:
        """Start, and return when clients are served."""
        assert self._process is None, "already running"
        self._started.clear()
        self._process = subprocess.Popen(
            self._java("kafka.Kafka", str(self._properties)),
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=self._folder,
        )  # fmt: skip
        self._reader = threading.Thread(target=self._read, args=(self._process,), daemon=True)
        self._reader.start()
        if not self._started.wait(_START_SECONDS) or self._process.poll() is not None:
            self.stop(kill=True)
            pytest.fail("Kafka did not start:\n" + "".join(self._output[-40:]))

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            self._output.append(line)
            if "Kafka Server started" in line:
                self._started.set()
        self._started.set()  # ended: let start() look at it

    def stop(self, kill: bool = False) -> None:
        """Stop in an orderly way, or as a power loss would."""
        process, self._process = self._process, None
        if process is None:
            return
        if kill:
            process.kill()
        else:
            process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if self._reader is not None:
            self._reader.join()
        if process.stdout is not None:
            process.stdout.close()

    def ensure_running(self) -> None:
        """Start it if a test left it stopped."""
        if self._process is None:
            self.start()

    def create_topic(self, name: str, partitions: int = 3, **config: str) -> None:
        """Create a topic and wait until the broker has done it."""
        admin = AdminClient({"bootstrap.servers": self.bootstrap})
        admin.create_topics([NewTopic(name, partitions, 1, config=config)])[name].result(30)

    def read(self, topic: str, count: int, seconds: float = 30.0, **config: Any) -> list[Message]:
        """The first ``count`` records of the topic, or fewer when they do not come within ``seconds``."""
        consumer = self._consumer(config)
        deadline = time.monotonic() + seconds
        found: list[Message] = []
        try:
            while len(found) < count and (left := deadline - time.monotonic()) > 0:
                if not consumer.assignment():
                    self._assign(consumer, topic, left)
                message = consumer.poll(left)  # `consume` would wait for as many as it may get
                if message is not None and message.error() is None:
                    found.append(message)
        finally:
            consumer.close()
        return found

    def read_all(self, topic: str, **config: Any) -> list[Message]:
        """Every record that the topic holds now, partition by partition in their order.

        A commit is acknowledged before its markers are in the partitions, and until then a reader of committed
        records is told of an end before them. So this end is the one that counts what is not committed yet.
        """
        consumer = self._consumer({"enable.partition.eof": True, **config})
        found: list[Message] = []
        try:
            self._assign(consumer, topic, 10.0)
            open_partitions = self._ends(consumer.assignment())
            deadline = time.monotonic() + 30.0
            while open_partitions and time.monotonic() < deadline:
                message = consumer.poll(1.0)
                if message is None:
                    continue
                error = message.error()
                partition, offset = message.partition(), message.offset()
                if error is None:
                    found.append(message)
                elif error.code() == KafkaError._PARTITION_EOF and partition in open_partitions:
                    assert offset is not None
                    if offset >= open_partitions[partition]:
                        del open_partitions[partition]
            assert not open_partitions, f"{topic}: ends of partitions {open_partitions} not reached"
        finally:
            consumer.close()
        return found

    def _ends(self, partitions: Iterable[TopicPartition]) -> dict[int, int]:
        """The offset after the last record of each partition, whether or not that is committed."""
        admin = AdminClient({"bootstrap.servers": self.bootstrap})
        latest = OffsetSpec.latest()  # type: ignore[no-untyped-call]
        asked = admin.list_offsets(
            {TopicPartition(one.topic, one.partition): latest for one in partitions},
            isolation_level=IsolationLevel.READ_UNCOMMITTED,
        )
        return {one.partition: answer.result(10).offset for one, answer in asked.items()}

    def _consumer(self, config: dict[str, Any]) -> Consumer:
        return Consumer(
            {
                "bootstrap.servers": self.bootstrap,
                "group.id": "tests",
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "fetch.wait.max.ms": 20,  # how long the broker waits for more where there is nothing
                **config,
            }
        )

    def _assign(self, consumer: Consumer, topic: str, seconds: float) -> None:
        partitions = consumer.list_topics(topic, seconds).topics[topic].partitions
        consumer.assign([TopicPartition(topic, number, 0) for number in partitions])

    def __enter__(self) -> KafkaBroker:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop(kill=True)


@pytest.fixture(scope="session")
def kafka_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterable[KafkaBroker]:
    """The broker that all tests of a run share: use topics of your own, leave it running."""
    with KafkaBroker(tmp_path_factory.mktemp("kafka")) as broker:
        yield broker
