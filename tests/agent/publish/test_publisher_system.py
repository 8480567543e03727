"""Publisher, Mosquitto and an independent subscriber: nothing spooled is lost, whoever is killed (MSG-1, MSG-2)."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from pathlib import Path

import pytest

from agent.publish.batcher import WindowSettings
from agent.publish.publisher import Publisher, PublishSettings
from agent.publish.spool import SpoolSettings
from hil.rack.pki import LocalCa
from tests.agent.publish.rack import IMPATIENT, QUICK, Rack, Subscriber, frame, run_dry, run_until, wait_for
from touchline.errors import ConfigError
from touchline.mqtt import SINK_TOPIC, make_client
from touchline.timeline import monotonic_ns

pytestmark = pytest.mark.system


def frames_arrived(subscriber: Subscriber, count: int) -> None:
    wait_for(lambda: subscriber.frames >= set(range(count)), f"{count} frames")


@pytest.mark.parametrize("protocol", ["3.1.1", "5"])
def test_everything_arrives_once_and_is_acknowledged(rack: Rack, protocol: str) -> None:
    subscriber = rack.subscriber()
    publisher = rack.publisher(protocol=protocol)
    for number in range(200):
        publisher.offer(frame(number))
        publisher.step(0.0)
    run_dry(publisher)
    frames_arrived(subscriber, 200)
    assert set(subscriber.seen.values()) == {1}
    assert sorted(n for _, n in subscriber.seen) == list(range(2000))
    counts = publisher.snapshot()
    assert counts["queued"] == counts["acknowledged"] == 2000
    assert counts["dropped"] == {}
    assert counts["puback_ms"]["count"] == 200
    publisher.close()


def test_window_gathers_frames_into_one_batch(rack: Rack) -> None:
    subscriber = rack.subscriber()
    publisher = rack.publisher(settings=PublishSettings(window=WindowSettings(250.0, 1200), link=QUICK))
    run_until(publisher, lambda: publisher.open, "the link")
    now_ns = monotonic_ns()
    for number in range(60):
        publisher.offer(frame(number, 20), now_ns)
    run_dry(publisher)
    frames_arrived(subscriber, 60)
    assert publisher.snapshot()["sent_batches"] == 1
    publisher.close()


def test_broker_absent_at_start_then_there(rack: Rack, caplog: pytest.LogCaptureFixture) -> None:
    rack.broker.stop()
    caplog.set_level(logging.WARNING, "agent.publish")
    publisher = rack.publisher()
    for number in range(50):
        publisher.offer(frame(number))
        publisher.step(0.01)
    run_until(publisher, lambda: publisher.snapshot()["link"]["fault"] == "refused", "the refusal")
    assert "start the broker" in publisher.snapshot()["link"]["message"]
    assert publisher.spool.depth.records == 500
    assert len([r for r in caplog.records if "nothing listens" in r.message]) == 1, "said once, not at every attempt"
    rack.broker.start()
    subscriber = rack.subscriber()
    run_dry(publisher)
    frames_arrived(subscriber, 50)
    assert publisher.fault is None
    publisher.close()


def test_broker_killed_midway_and_back_loses_nothing(rack: Rack) -> None:
    """kill -9 while batches are under way, three times; the subscriber announces itself as the sink."""
    subscriber = rack.subscriber(announce=True)
    publisher = rack.publisher(settings=PublishSettings(link=QUICK, sink_topic=SINK_TOPIC))
    number = 0
    for _ in range(3):
        run_until(publisher, lambda: publisher.open, "the link")
        for _ in range(60):
            publisher.offer(frame(number))
            publisher.step(0.0)
            number += 1
        rack.broker.kill()
        for _ in range(20):
            publisher.offer(frame(number))
            publisher.step(0.005)
            number += 1
        rack.broker.start()
    run_dry(publisher)
    frames_arrived(subscriber, number)
    assert sorted({n for _, n in subscriber.seen}) == list(range(number * 10))
    counts = publisher.snapshot()
    assert counts["reconnects"] >= 3
    assert counts["acknowledged"] == counts["queued"] == number * 10
    publisher.close()


def test_broker_that_hangs_is_given_up_and_everything_sent_again(rack: Rack) -> None:
    subscriber = rack.subscriber()
    publisher = rack.publisher(settings=PublishSettings(link=IMPATIENT))
    run_until(publisher, lambda: publisher.open, "the link")
    rack.broker.pause()
    for number in range(30):
        publisher.offer(frame(number))
    run_until(publisher, lambda: publisher.fault is not None, "the time-out")
    assert "no PUBACK" in str(publisher.fault)
    rack.broker.resume()
    run_dry(publisher)
    frames_arrived(subscriber, 30)
    publisher.close()


def test_records_wait_for_the_sink(rack: Rack) -> None:
    """A broker without subscribers would acknowledge into the void; with a sink topic nothing leaves before it."""
    publisher = rack.publisher(settings=PublishSettings(link=QUICK, sink_topic=SINK_TOPIC))
    for number in range(20):
        publisher.offer(frame(number))
    run_until(publisher, lambda: publisher.snapshot()["link"]["phase"] == "listening", "the connection")
    for _ in range(10):
        publisher.step(0.02)
    assert publisher.spool.depth.batches == 20
    subscriber = rack.subscriber(announce=True)
    run_dry(publisher)
    frames_arrived(subscriber, 20)
    publisher.close()


def test_shutdown_drains_until_its_deadline_and_keeps_the_rest(rack: Rack) -> None:
    subscriber = rack.subscriber()
    publisher = rack.publisher()
    run_until(publisher, lambda: publisher.open, "the link")
    for number in range(100):
        publisher.offer(frame(number))
    assert publisher.close(monotonic_ns() + 60_000_000_000).batches == 0
    frames_arrived(subscriber, 100)
    rack.broker.stop()
    second = rack.publisher(boot=b"c" * 16)
    second.offer(frame(100))
    assert second.close(monotonic_ns() + 100_000_000).batches >= 1
    rack.broker.start()
    third = rack.publisher(boot=b"d" * 16)
    run_dry(third)
    frames_arrived(subscriber, 101)
    third.close()


KILLED = """
import os, sys
from pathlib import Path
from agent.publish.publisher import Publisher, PublishSettings
from agent.publish.spool import Spool, SpoolSettings
from tests.agent.publish.rack import QUICK, frame
from touchline.mqtt import MqttSettings
from touchline.timeline import monotonic_ns
folder, port, name, pki = Path(sys.argv[1]), int(sys.argv[2]), "node-a", Path(sys.argv[3])
mqtt = MqttSettings("127.0.0.1", port, name, pki / "ca.crt", pki / f"{name}.crt", pki / f"{name}.key")
spool = Spool(folder, SpoolSettings(sync="off"), monotonic_ns())
boot = sys.argv[4].encode().ljust(16)
publisher = Publisher(mqtt, spool, node=name, boot_id=boot, settings=PublishSettings(link=QUICK))
first = int(sys.argv[5])
for number in range(first, first + 100_000):
    publisher.offer(frame(number))
    os.write(1, number.to_bytes(4, "little"))
    publisher.step(0.0)
"""


def run_and_kill(rack: Rack, boot: str, first: int, frames: int) -> int:
    """Start a publisher process, kill -9 it after ``frames`` frames; return the last frame that it had spooled."""
    argv = [str(rack.folder / "spool-node-a"), str(rack.broker.port), str(rack.ca.folder), boot, str(first)]
    process = subprocess.Popen([sys.executable, "-c", KILLED, *argv], stdout=subprocess.PIPE)
    assert process.stdout is not None
    last = first
    while last < first + frames:
        data = process.stdout.read(4)
        assert data, f"it ended with {process.wait()}"
        last = int.from_bytes(data, "little")
    process.kill()
    rest = process.stdout.read()
    process.stdout.close()
    process.wait()
    whole = len(rest) // 4 * 4
    return int.from_bytes(rest[whole - 4 : whole], "little") if whole else last


def test_publisher_killed_in_a_burst_loses_nothing_that_it_spooled(rack: Rack) -> None:
    rack.ca.client("node-a")
    subscriber = rack.subscriber()
    last = run_and_kill(rack, "one", 0, 300)
    rack.broker.stop()
    last = run_and_kill(rack, "two", last + 2, 50)  # +2: the frame after the last reported one may be half there
    rack.broker.start()
    wait_for(lambda: subscriber.subscribed, "the subscriber to be back")
    publisher = rack.publisher(boot=b"three".ljust(16))
    run_dry(publisher)
    frames_arrived(subscriber, 300)
    wait_for(lambda: last in subscriber.frames, "the last spooled frame")
    for boot in (b"one".ljust(16), b"two".ljust(16)):
        numbers = sorted(n for b, n in subscriber.seen if b == boot)
        assert numbers == list(range(len(numbers)))
    publisher.close()


def publish_as(rack: Rack, node: str, topic: str) -> None:
    """One message on a connection of its own: Mosquitto 2.0 acknowledges what its ACL forbids, then hangs up."""
    client = make_client(rack.link(rack.ca.client(node), node))
    client.dial()
    client.loop_start()
    wait_for(client.is_connected, "the link")
    client.publish(topic, b"{}", qos=1, retain=True).wait_for_publish(60.0)
    client.loop_stop()
    client.disconnect()


def test_a_node_cannot_publish_below_another_name(rack: Rack) -> None:
    subscriber = rack.subscriber()
    for topic in ("tl/v1/node-a/det", "tl/v1/node-a/health", SINK_TOPIC, "tl/v1/node-b/health"):
        publish_as(rack, "node-b", topic)
    wait_for(lambda: bool(subscriber.topics), "the permitted message")
    assert subscriber.topics == {"tl/v1/node-b/health"}
    late = rack.subscriber()
    wait_for(lambda: bool(late.topics), "the retained message")
    assert late.topics == {"tl/v1/node-b/health"}, "nothing forbidden was retained"


def test_a_node_cannot_read_another_nodes_records(rack: Rack) -> None:
    spy = make_client(rack.link(rack.ca.client("node-b"), "node-b"))
    got: list[str] = []
    granted: list[bool] = []
    spy.on_message = lambda client, userdata, message: got.append(message.topic)
    spy.on_subscribe = lambda *args: granted.append(True)
    spy.dial()
    spy.loop_start()
    wait_for(spy.is_connected, "the spy's link")
    spy.subscribe("tl/v1/#", qos=1)
    wait_for(lambda: bool(granted), "SUBACK")
    publisher = rack.publisher("node-a")
    publisher.offer(frame(0))
    run_dry(publisher)
    spy.publish("tl/v1/node-b/event", b"{}", qos=1)
    wait_for(lambda: bool(got), "its own message")
    assert got == ["tl/v1/node-b/event"]
    spy.disconnect()
    spy.loop_stop()
    publisher.close()


def test_certificate_for_another_node_is_refused_at_start(rack: Rack) -> None:
    with pytest.raises(ConfigError, match="is for 'node-b', this node is 'node-a'"):
        rack.publisher("node-a", identity=rack.ca.client("node-b"))


def fault_of(publisher: Publisher) -> str:
    publisher.offer(frame(0))
    run_until(publisher, lambda: publisher.fault is not None, "a fault")
    kind = publisher.snapshot()["link"]["fault"]
    assert publisher.spool.depth.records == 10, "the records wait in the spool"
    publisher.close()
    assert isinstance(kind, str)
    return kind


def test_expired_certificate_is_named(rack: Rack) -> None:
    assert fault_of(rack.publisher(identity=rack.ca.client("node-a", valid_days=-1))) == "certificate_expired"


def test_certificate_of_another_ca_is_named(rack: Rack, tmp_path: Path) -> None:
    foreign = LocalCa(tmp_path / "other").client("node-a")
    assert fault_of(rack.publisher(identity=foreign, ca_file=rack.ca.ca_file)) == "certificate_refused"


def test_broker_of_another_ca_is_named(rack: Rack, tmp_path: Path) -> None:
    assert fault_of(rack.publisher(identity=LocalCa(tmp_path / "other").client("node-a"))) == "broker_not_trusted"


def test_renewed_certificate_is_used_without_a_restart(rack: Rack) -> None:
    subscriber = rack.subscriber()
    publisher = rack.publisher(identity=rack.ca.client("node-a", valid_days=-1))
    publisher.offer(frame(0))
    run_until(publisher, lambda: publisher.fault is not None, "the refusal")
    rack.ca.client("node-a")
    run_dry(publisher)
    frames_arrived(subscriber, 1)
    publisher.close()


def test_documents_are_retained_and_events_survive_a_reconnect(rack: Rack) -> None:
    publisher = rack.publisher()
    publisher.set_health({"state": "starting"})
    publisher.set_health({"state": "running"})
    run_until(publisher, lambda: publisher.open, "the link")
    rack.broker.kill()
    publisher.add_event({"event": "takeover"})
    rack.broker.start()
    run_until(publisher, lambda: publisher.open and publisher.snapshot()["reconnects"] == 1, "the link again")
    subscriber = rack.subscriber()
    run_until(publisher, lambda: len(subscriber.payloads) >= 2, "both documents")
    assert {json.dumps(json.loads(p)) for p in subscriber.payloads} == {
        '{"state": "running"}',
        '{"event": "takeover"}',
    }
    publisher.close()


def test_full_spool_while_the_broker_is_away_counts_what_it_drops(rack: Rack) -> None:
    rack.broker.stop()
    publisher = rack.publisher(spool=SpoolSettings(max_bytes=1 << 20, sync="off"))
    for number in range(2000):
        publisher.offer(frame(number))
    rack.broker.start()
    subscriber = rack.subscriber()
    run_dry(publisher)
    counts = publisher.snapshot()
    assert counts["dropped"]["spool_full"] > 0
    assert counts["queued"] == counts["acknowledged"] + counts["dropped"]["spool_full"] == 20_000
    wait_for(lambda: len(subscriber.seen) == counts["acknowledged"], "all that was kept")
    publisher.close()
