"""The test's rack: CA, broker, subscribers, and publishers that run until a condition holds."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.publish.core import LinkPolicy
from agent.publish.publisher import Publisher, PublishSettings
from agent.publish.spool import Spool, SpoolSettings
from hil.rack.broker import Broker
from hil.rack.pki import Identity, LocalCa
from touchline.mqtt import AGGREGATOR, SINK_TOPIC, BrokerClient, MqttSettings, make_client
from touchline.record import new_records, unpack_batch
from touchline.timeline import monotonic_ns, sleep_until

QUICK = LinkPolicy(first_retry_s=0.02, max_retry_s=0.1, greeting_timeout_s=20.0, ack_timeout_s=20.0)
IMPATIENT = replace(QUICK, ack_timeout_s=2.0)
DEADLINE_S = 60.0


def wait_for(condition: Callable[[], bool], what: str, step: Callable[[], object] | None = None) -> None:
    """Call ``step`` (or nap) until ``condition``; fail after DEADLINE_S."""
    end_ns = monotonic_ns() + int(DEADLINE_S * 1e9)
    while not condition():
        assert monotonic_ns() < end_ns, f"timed out waiting for {what}"
        if step is not None:
            step()
        else:
            sleep_until(monotonic_ns() + 5_000_000)


def frame(number: int, records: int = 10) -> NDArray[np.void]:
    """One frame of records that carry its number."""
    rows = new_records(records)
    rows["frame"] = number
    rows["ptp_ns"] = number * 20_000_000
    return rows


class Subscriber:
    """Subscribes with a kept session and counts every (boot id, record number) it gets; never talks to our code."""

    def __init__(self, settings: MqttSettings, *, announce: bool = False) -> None:
        self.seen: Counter[tuple[bytes, int]] = Counter()
        self.frames: set[int] = set()
        self.topics: set[str] = set()
        self.payloads: list[bytes] = []
        self.subscribed = False
        self._announce = announce
        self.client: BrokerClient = make_client(settings, clean_session=False)
        self.client.on_connect = self._on_connect
        self.client.on_subscribe = self._on_subscribe
        self.client.on_disconnect = self._on_disconnect
        self.client.on_message = self._on_message
        self.client.reconnect_delay_set(1, 1)
        self.client.connect_async(settings.host, settings.port, settings.keepalive_s)
        self.client.loop_start()

    def _on_connect(self, client: Any, *_: Any) -> None:
        client.subscribe([("tl/v1/+/det", 1), ("tl/v1/+/health", 1), ("tl/v1/+/event", 1), (SINK_TOPIC, 1)])

    def _on_subscribe(self, client: Any, *_: Any) -> None:
        self.subscribed = True
        if self._announce:
            client.publish(SINK_TOPIC, b"1", qos=1, retain=True)

    def _on_disconnect(self, *_: Any) -> None:
        self.subscribed = False

    def _on_message(self, client: Any, userdata: Any, message: Any) -> None:
        if message.topic == SINK_TOPIC and self._announce:
            return
        self.topics.add(message.topic)
        if not message.topic.endswith("/det"):
            self.payloads.append(message.payload)
            return
        header, records = unpack_batch(message.payload)
        self.seen.update((header.boot_id, header.first_record + i) for i in range(header.count))
        self.frames.update(records["frame"].tolist())

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


class Rack:
    """Broker and CA; makes identities, subscribers and publishers and closes them."""

    def __init__(self, folder: Path, ca: LocalCa, broker: Broker) -> None:
        self.folder, self.ca, self.broker = folder, ca, broker
        self._subscribers = 0
        self._close = contextlib.ExitStack()
        self._close.callback(broker.stop)

    def link(self, identity: Identity, name: str, **changes: Any) -> MqttSettings:
        settings = MqttSettings(
            "127.0.0.1",
            self.broker.port,
            name,
            identity.ca_file,
            identity.cert_file,
            identity.key_file,
            connect_timeout_s=20.0,
            handshake_timeout_s=20.0,
        )
        return replace(settings, **changes)

    def subscriber(self, *, announce: bool = False) -> Subscriber:
        self._subscribers += 1
        link = self.link(self.ca.client(AGGREGATOR), f"rack-test-{self._subscribers}")
        found = Subscriber(link, announce=announce)
        self._close.callback(found.close)
        wait_for(lambda: found.subscribed, "the subscription")
        return found

    def publisher(
        self,
        node: str = "node-a",
        *,
        identity: Identity | None = None,
        settings: PublishSettings | None = None,
        spool: SpoolSettings | None = None,
        boot: bytes = b"b" * 16,
        **link: Any,
    ) -> Publisher:
        folder = Spool(self.folder / f"spool-{node}", spool or SpoolSettings(sync="off"), monotonic_ns())
        mqtt = self.link(identity or self.ca.client(node), node, **link)
        return Publisher(mqtt, folder, node=node, boot_id=boot, settings=settings or PublishSettings(link=QUICK))

    def close(self) -> None:
        self._close.close()


def run_until(publisher: Publisher, condition: Callable[[], bool], what: str) -> None:
    """Drive the publisher until ``condition``."""
    wait_for(condition, what, step=lambda: publisher.step(0.02))


def run_dry(publisher: Publisher) -> None:
    """Drive the publisher until everything is acknowledged."""
    run_until(publisher, lambda: publisher.open and publisher.spool.depth.batches == 0, "the spool to empty")
