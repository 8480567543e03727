"""Packing and publishing 1,200 records (MSG-1): ours beside a struct loop and beside paho with one record per message.

    python -m benchmarks.publish [--json FILE] [--rounds N] [--batch-records N]

Publishing is timed from the first record handed over to the last PUBACK, over mutual TLS 1.3 to Mosquitto on loopback,
both ways in turn, round by round, in the same run. Ours goes through the spool on disk with the shipped settings.
"""

from __future__ import annotations

import argparse
import statistics
import struct
import sys
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from agent.publish.batcher import WindowSettings
from agent.publish.publisher import Publisher, PublishSettings
from agent.publish.spool import Spool, SpoolSettings, SyncPolicy
from benchmarks.common import Row, report
from hil.rack.broker import Broker, BrokerSpec
from hil.rack.pki import LocalCa
from touchline.mqtt import MqttSettings, make_client
from touchline.record import LAYOUT_HASH, MAGIC, BatchHeader, new_records, pack_batch
from touchline.timeline import monotonic_ns, sleep_until

RECORDS = 1200  # 20 people x 60 frames, the burst of MSG-1
PACK_BAR = 50.0
PEER_IN_FLIGHT = 20  # paho's own default
_PEER = "paho, 1 record/message, QoS 1"
_WARM_UP = 2  # rounds not counted
_LAYOUT = struct.Struct("<BBHIQ16s16s7d")
_HEADER = struct.Struct("<4sI8s16s16sQQQI")


def burst(seed: int) -> NDArray[np.void]:
    """1,200 plausible records."""
    rng = np.random.default_rng(seed)
    records = new_records(RECORDS)
    records["frame"] = np.arange(RECORDS) // 20
    records["ptp_ns"] = 1_800_000_000_000_000_000 + records["frame"].astype(np.uint64) * 16_666_667
    records["key"] = rng.integers(0, 256, (RECORDS, 16))
    for name in ("x_m", "y_m", "vx_mps", "vy_mps", "ax_mps2", "ay_mps2", "height_m"):
        records[name] = rng.normal(size=RECORDS)
    return records


def struct_loop(header: BatchHeader, records: NDArray[np.void]) -> bytes:
    """The same bytes from the same array as one writes it first: struct, record by record."""
    parts = []
    for row in records:
        version, flags, camera, frame, ptp_ns, key, player, *metres = row.tolist()
        parts.append(_LAYOUT.pack(version, flags, camera, frame, ptp_ns, bytes(key), bytes(player), *metres))
    body = b"".join(parts)
    numbers = (header.epoch, header.batch_number, header.first_record, 0)
    head = _HEADER.pack(MAGIC, header.count, LAYOUT_HASH, header.node.encode(), header.boot_id, *numbers)
    crc = int(google_crc32c.extend(google_crc32c.value(head), body))
    return head + crc.to_bytes(4, "little") + body


@dataclass(slots=True)
class Detection:
    """One detection as an object: what the loop's input would be without arrays."""

    version: int
    flags: int
    camera: int
    frame: int
    ptp_ns: int
    key: bytes
    player: bytes
    x_m: float
    y_m: float
    vx_mps: float
    vy_mps: float
    ax_mps2: float
    ay_mps2: float
    height_m: float


def object_loop(rows: list[Detection]) -> bytes:
    """The loop over objects; without header and CRC."""
    pack = _LAYOUT.pack
    return b"".join(
        [
            pack(
                *(d.version, d.flags, d.camera, d.frame, d.ptp_ns, d.key, d.player),
                *(d.x_m, d.y_m, d.vx_mps, d.vy_mps, d.ax_mps2, d.ay_mps2, d.height_m),
            )
            for d in rows
        ]
    )


def median_ms(call: Callable[[], object], rounds: int) -> float:
    """Median duration of ``call``, ms."""
    times = []
    for _ in range(rounds):
        start_ns = monotonic_ns()
        call()
        times.append((monotonic_ns() - start_ns) / 1e6)
    return statistics.median(times)


def bench_pack(rounds: int) -> list[Row]:
    """Row 1: one batch of 1,200 records from the same array to the same bytes; row 2: the loop over ready objects."""
    records = burst(1)
    header = BatchHeader("node-a", bytes(16), 1, 0, 0, RECORDS)
    if struct_loop(header, records) != pack_batch(header, records):
        raise AssertionError("the struct loop does not make the same bytes")
    objects = []
    for row in records:
        version, flags, camera, frame, ptp_ns, key, player, *metres = row.tolist()
        objects.append(Detection(version, flags, camera, frame, ptp_ns, bytes(key), bytes(player), *metres))
    ours = median_ms(lambda: pack_batch(header, records), rounds * 10)
    peer = median_ms(lambda: struct_loop(header, records), rounds)
    bare = median_ms(lambda: object_loop(objects), rounds)
    ratio = peer / ours
    return [
        Row("pack 1,200 records", ours, peer, "struct loop", "ms", ratio, ">= 50x", ratio >= PACK_BAR),
        Row("the same, no header, no CRC", ours, bare, "struct loop over objects", "ms", bare / ours, "shown", None),
    ]


class Ours:
    """Spool and publisher with windows of ``batch_records``."""

    def __init__(self, mqtt: MqttSettings, folder: Path, batch_records: int, sync: SyncPolicy) -> None:
        spool = Spool(folder, SpoolSettings(sync=sync), monotonic_ns())
        settings = PublishSettings(window=WindowSettings(0.0, batch_records))
        self.publisher = Publisher(mqtt, spool, node="node-a", boot_id=bytes(16), epoch=1, settings=settings)
        while not self.publisher.open:
            self.publisher.step(0.05)

    def send(self, records: NDArray[np.void]) -> float:
        """Publish a burst; ms from offering it to the last PUBACK."""
        publisher = self.publisher
        start_ns = monotonic_ns()
        publisher.offer(records)
        while publisher.spool.depth.batches:
            publisher.step(0.05)
        return (monotonic_ns() - start_ns) / 1e6


class OnePerMessage:
    """paho as its examples use it: its thread, QoS 1, one record per message, default in-flight window."""

    def __init__(self, mqtt: MqttSettings) -> None:
        self._left = 0
        self._done = threading.Event()
        self._client = make_client(mqtt)
        self._client.max_inflight_messages_set(PEER_IN_FLIGHT)
        self._client.on_publish = self._on_publish
        self._client.dial()
        self._client.loop_start()
        while not self._client.is_connected():
            sleep_until(monotonic_ns() + 1_000_000)

    def _on_publish(self, *_: object) -> None:
        self._left -= 1
        if self._left == 0:
            self._done.set()

    def send(self, records: NDArray[np.void]) -> float:
        """Publish a burst; ms from the first publish to the last PUBACK."""
        payloads = [record.tobytes() for record in records]
        self._left = len(payloads)
        self._done.clear()
        start_ns = monotonic_ns()
        for payload in payloads:
            self._client.publish("tl/v1/node-b/det", payload, qos=1)
        self._done.wait(60.0)
        return (monotonic_ns() - start_ns) / 1e6

    def close(self) -> None:
        """Leave."""
        self._client.disconnect()
        self._client.loop_stop()


def bench_publish(folder: Path, rounds: int, batch_records: int) -> list[Row]:
    """The burst to its last PUBACK: as shipped, in batches of 100, and with a sync to disk before every batch."""
    ca = LocalCa(folder / "pki")
    shipped = SpoolSettings().sync
    with Broker(BrokerSpec(folder / "broker", ca.server())) as broker:

        def link(node: str, client_id: str) -> MqttSettings:
            who = ca.client(node)
            return MqttSettings("127.0.0.1", broker.port, client_id, who.ca_file, who.cert_file, who.key_file)

        peer = OnePerMessage(link("node-b", "peer"))
        ways = {
            "shipped": Ours(link("node-a", "shipped"), folder / "shipped", batch_records, shipped),
            "hundreds": Ours(link("node-a", "hundreds"), folder / "hundreds", 100, shipped),
            "synced": Ours(link("node-a", "synced"), folder / "synced", batch_records, "batch"),
        }
        times: dict[str, list[float]] = {"peer": [], **{way: [] for way in ways}}
        for seed in range(rounds + _WARM_UP):
            records = burst(seed)
            times["peer"].append(peer.send(records))
            for way, ours in ways.items():
                times[way].append(ours.send(records))
        peer.close()
        for ours in ways.values():
            ours.publisher.close()
    warm = {way: values[_WARM_UP:] for way, values in times.items()}
    mid = {way: statistics.median(values) for way, values in warm.items()}
    figures = (mid["shipped"], mid["peer"], _PEER, "ms")
    ratio = mid["shipped"] / mid["peer"]
    return [
        Row(
            "1,200 records to last PUBACK",
            *figures,
            ratio,
            "<= 1/30",
            ratio <= 1 / 30,
        ),
        _shown("the same, worst round", max(warm["shipped"]), max(warm["peer"])),
        _shown("the same, 12 batches of 100", mid["hundreds"], mid["peer"]),
        _shown("the same, fdatasync each batch", mid["synced"], mid["peer"]),
    ]


def _shown(what: str, ours: float, peer: float) -> Row:
    return Row(what, ours, peer, _PEER, "ms", ours / peer, "shown", None)


def main() -> int:
    """Run, print the table, and exit 8 when a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write machine and rows here")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--batch-records", type=int, default=WindowSettings().max_records)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-publish-") as folder:
        rows = [*bench_pack(arguments.rounds), *bench_publish(Path(folder), arguments.rounds, arguments.batch_records)]
    return 0 if report(rows, arguments.json) else 8


if __name__ == "__main__":
    sys.exit(main())
