"""Fixtures for every folder of tests."""

from tests.kafka_broker import kafka_broker

__all__ = ["kafka_broker"]
