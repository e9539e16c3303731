"""Each event of a topic, once: python consumer.py BROKERS TOPIC GROUP (needs aiokafka)."""

import asyncio
import hashlib
import json
import sys
import urllib.request

from aiokafka import AIOKafkaConsumer


def whole(event: dict[str, str], value: bytes) -> bytes:
    """The resource: what the record carries, or what a shortened event refers to."""
    if "dataref" not in event:
        return value
    with urllib.request.urlopen(event["dataref"], timeout=60) as answer:
        found = answer.read()
    if hashlib.sha256(found).hexdigest() != event["datasha256"]:
        raise ValueError(f"{event['dataref']} is not what event {event['id']} refers to")
    return found


async def main(brokers: str, topic: str, group: str) -> None:
    seen = set()  # yours: a table whose key is the id, written together with what you make of the event
    async with AIOKafkaConsumer(
        topic,
        bootstrap_servers=brokers,
        group_id=group,
        isolation_level="read_committed",
        auto_offset_reset="earliest",
        enable_auto_commit=False,
    ) as consumer:
        async for record in consumer:
            event = {name.removeprefix("ce_"): value.decode() for name, value in record.headers}
            if event["id"] not in seen:
                resource = json.loads(await asyncio.to_thread(whole, event, record.value))
                print(json.dumps([event, resource]), flush=True)  # here comes your own work
                seen.add(event["id"])
            await consumer.commit()


asyncio.run(main(*sys.argv[1:4]))
