from __future__ import annotations

import pytest

from node.publish.kafka_options import KafkaOptions, legal_topic


def test_secrets_are_not_shown() -> None:
    options = KafkaOptions(sasl_username="u", sasl_password="secret-1", ssl_password="secret-2")
    assert "secret" not in repr(options)


def test_the_transactional_id_is_used_only_for_exactly_once() -> None:
    assert KafkaOptions(exactly_once=False, transactional_id="a").transactions is None
    assert KafkaOptions(exactly_once=True, transactional_id="a").transactions == "a"
    assert KafkaOptions(exactly_once=True, client_id="c").transactions == "c"


@pytest.mark.parametrize(
    ("name", "legal"),
    [
        ("imaging-study", True),
        ("a.b_c-1", True),
        ("", False),
        ("..", False),
        ("a b", False),
        ("x" * 250, False),
    ],
)
def test_legal_topics(name: str, legal: bool) -> None:
    assert legal_topic(name) is legal


@pytest.mark.parametrize("transactional_id", ["node 1/é", "x" * 400])
def test_the_cursor_topic_is_always_a_legal_one(transactional_id: str) -> None:
    assert legal_topic(KafkaOptions(transactional_id=transactional_id).cursor_topic)
