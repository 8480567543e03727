"""The real thing: Mosquitto with TLS, the aggregator as a process, killed in the middle of a match."""

import asyncio
import json
import signal
import socket
import subprocess
import sys
import threading

import aiohttp
import pytest

from aggregator.export import audit
from hil.rack.broker import Broker, BrokerSpec
from hil.rack.pki import LocalCa
from tests.aggregator.match import Match, Node
from tests.aggregator.rig import RackProcess, wait_for
from touchline.mqtt import MqttSettings, make_client
from touchline.run import need
from touchline.timeline import SystemClock, monotonic_ns, sleep_until

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def ca(tmp_path_factory):
    return LocalCa(tmp_path_factory.mktemp("ca"))


@pytest.fixture
def broker(ca, tmp_path):
    try:
        need("mosquitto", "mosquitto")
    except Exception as error:  # noqa: BLE001  (any reason for its absence is a reason to skip)
        pytest.skip(str(error))
    with Broker(BrokerSpec(tmp_path / "broker", ca.server())) as running:
        yield running


@pytest.fixture
def rack(ca, broker, tmp_path):
    identity = ca.client("aggregator")
    config = tmp_path / "rack.toml"
    config.write_text(
        f"""
        [mqtt]
        host = "localhost"
        port = {broker.port}
        ca_file = "{identity.ca_file}"
        cert_file = "{identity.cert_file}"
        key_file = "{identity.key_file}"
        [store]
        path = "match.sqlite"
        [receive]
        gap_close_s = 0.5
        [web]
        port = 0
        """
    )
    running = RackProcess(config)
    yield running
    if running.process is not None and running.process.poll() is None:
        running.end()


class Sender:
    """A node's link: QoS 1, everything acknowledged before :meth:`flush` returns."""

    def __init__(self, ca: LocalCa, broker: Broker, name: str) -> None:
        who = ca.client(name)
        settings = MqttSettings("localhost", broker.port, name, who.ca_file, who.cert_file, who.key_file, keepalive_s=5)
        self.node = Node(name)
        self.client = make_client(settings, clean_session=False)
        self.client.reconnect_delay_set(min_delay=1, max_delay=1)
        self.client.connect_async(settings.host, settings.port, settings.keepalive_s)
        self.client.loop_start()
        self.waiting: set[int] = set()
        self.acknowledged: set[int] = set()
        self.client.on_publish = lambda _client, _data, mid, _reason, _properties: self.acknowledged.add(mid)

    def send(self, data: bytes, topic: str | None = None) -> None:
        # paho queues what is sent while it is not connected, and says so with a result that looks like a failure
        self.waiting.add(self.client.publish(topic or self.node.topic, data, qos=1).mid)

    def flush(self) -> None:
        wait_for(lambda: self.waiting <= self.acknowledged, "acknowledgements")

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


@pytest.fixture
def sender(ca, broker):
    made = Sender(ca, broker, "node-a")
    yield made
    made.close()


def stored(rack: RackProcess) -> int:
    return int(rack.get("api/stats").get("records", {}).get("unique", 0))


def listening(rack: RackProcess) -> None:
    """Until the broker granted the subscription: what is sent to a rack that never subscribed goes nowhere."""
    wait_for(lambda: rack.get("api/status").get("broker", {}).get("connected"), "broker link")


def test_killed_three_times_every_record_is_there_once(rack, broker, sender):
    """kill -9 of the aggregator and a restart of the broker, while records flow: none lost, none doubled."""
    match, clock = Match(), SystemClock()
    rack.start()
    listening(rack)

    def play() -> None:
        begin_ns = monotonic_ns()
        for frame in range(500):
            ptp_ns = clock.now().ptp_ns
            for camera in (0, 1):
                sender.send(sender.node.batch(match.seen(camera, frame, frame / 100, ptp_ns)))
            if frame % 50 == 7:  # a duplicate delivery, as after a lost PUBACK
                sender.send(sender.node.sent[-3])
            sleep_until(begin_ns + frame * 10_000_000)

    player = threading.Thread(target=play)
    player.start()
    for target in (1500, 5000, 8000):
        wait_for(lambda n=target: stored(rack) > n or not player.is_alive(), f"{target} records")
        rack.kill()
        if target == 5000:
            broker.stop()
            broker.start()
        rack.start()
    player.join()
    sender.flush()
    total = sender.node.next_record
    wait_for(lambda: stored(rack) >= total, f"{total} records, {rack.get('api/stats')}")
    sender.send(sender.node.sent[10])
    sender.flush()
    stats = wait_for(
        lambda: (s := rack.get("api/stats?audit=1")) and s["records"]["redelivered"] and s, "the repeated batch"
    )
    assert stats["records"]["unique"] == total
    assert stats["records"]["lost"] == stats["records"]["open_gaps"] == stats["records"]["before_first"] == 0
    assert stats["records"]["same_key"] == 0
    found = stats["audit"]
    assert found["clean"] and found["records"] == total and found["frames"] == 1000
    assert rack.end() == 0
    assert audit(rack.config.parent / "match.sqlite").records == total


def test_twins_gaps_and_rubbish_from_the_network(rack, broker, ca, sender):
    """Two nodes send the same frames, one skips some, one sends rubbish: all is counted, nothing falls over."""
    twin, match = Sender(ca, broker, "node-b"), Match()
    rack.start()
    listening(rack)
    now_ns = SystemClock().now().ptp_ns
    for frame in range(40):
        data = sender.node.batch(match.seen(0, frame, frame / 25, now_ns + frame * 40_000_000))
        if frame not in (20, 21):
            sender.send(data)
        twin.send(twin.node.batch(match.seen(0, frame, frame / 25, now_ns + frame * 40_000_000 + 900)))
        if frame % 5 == 0:
            for bad in (b"", b"TLB1", b"\0" * 4000, data[:-1], data[:50] + b"x" + data[51:]):
                sender.send(bad)
            sender.send(b"{nonsense", "tl/v1/node-a/health")
        sleep_until(monotonic_ns() + 5_000_000)
    sender.flush()
    twin.flush()
    sent = len(sender.waiting) + len(twin.waiting)
    lost = len(match.seen(0, 20, 0.8, 0)) + len(match.seen(0, 21, 0.84, 0))
    stats = wait_for(
        lambda: (
            (s := rack.get("api/stats?audit=1"))
            and s["messages"]["received"] >= sent
            and s["records"]["lost"] == lost
            and s["parked_frames"] == 0
            and s["audit"]["frames"] == 40
            and s
        ),
        "the twin's copies of what node-a skipped",
    )
    assert stats["audit"]["clean"]
    assert stats["records"]["unique"] == twin.node.next_record
    assert stats["records"]["twin_copies"] == twin.node.next_record - lost
    refused = stats["messages"]["refused"]
    assert refused == {"truncated": 24, "foreign": 8, "corrupt": 8, "document": 8}
    codes = {e["code"] for e in rack.get("api/status")["events"]}
    assert {"node", "owner", "refused", "broker"} <= codes
    twin.close()


def test_sigterm_while_pages_are_open_is_a_clean_stop(rack, sender):
    rack.start()

    async def listen() -> tuple[str, int | None]:
        async with aiohttp.ClientSession() as session, session.ws_connect(rack.url + "ws") as ws:
            first = json.loads((await ws.receive(timeout=60)).data)
            rack.process.send_signal(signal.SIGTERM)
            async for message in ws:
                assert json.loads(message.data)["type"] in ("status", "live")
            return first["type"], ws.close_code

    assert asyncio.run(listen()) == ("hello", 1001)
    assert rack.process.wait(60) == 0


def test_a_broker_that_is_down_is_said_and_then_found(rack, broker, sender):
    broker.stop()
    rack.start()
    wait_for(lambda: rack.get("api/status").get("broker", {}).get("text", "").startswith("nothing listens"), "fault")
    words = "nothing listens at broker", "start the broker"
    wait_for(lambda: any(all(word in line for word in words) for line in [*rack.lines]), "its line")
    broker.start()
    listening(rack)
    sender.send(sender.node.batch(Match().seen(0, 0, 0.0, SystemClock().now().ptp_ns)))
    wait_for(lambda: stored(rack) == sender.node.next_record, "records")


def test_port_in_use_and_foreign_store_end_with_their_exit_codes(rack):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        text = rack.config.read_text()
        rack.config.write_text(text.replace("port = 0", f"port = {port}"))
        rack.start(wait=False)
        assert rack.process.wait(60) == 5
        wait_for(lambda: any(f"port {port} on 127.0.0.1 is in use" in line for line in rack.lines), "the message")
        rack.config.write_text(text)
    (rack.config.parent / "match.sqlite").unlink()
    (rack.config.parent / "match.sqlite").write_text("a diary\n" * 1000)
    rack.start(wait=False)
    assert rack.process.wait(60) == 4


def test_the_command_line_exports_and_audits(rack, sender, tmp_path):
    rack.start()
    listening(rack)
    sender.send(sender.node.batch(Match().seen(0, 0, 0.0, SystemClock().now().ptp_ns)))
    wait_for(lambda: stored(rack) == sender.node.next_record, "records")

    def touchline(*words: str) -> tuple[int, str, str]:
        command = [sys.executable, "-m", "touchline.cli", "aggregator", *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=150, check=False)
        return done.returncode, done.stdout, done.stderr

    db, out = tmp_path / "match.sqlite", tmp_path / "m.parquet"
    code, text, _ = touchline(
        "export", "--db", str(db), "--out", str(out), "--events", str(tmp_path / "e.parquet"), "--json"
    )
    assert code == 0 and json.loads(text)["records"] == sender.node.next_record and out.is_file()
    assert touchline("audit", "--db", str(db))[0] == 0
    code, text, _ = touchline("status", "--url", rack.url)
    assert code == 0 and "broker    connected" in text and "node-a" in text
    assert touchline("status", "--url", "http://127.0.0.1:9/")[0] == 6
    assert touchline("export", "--db", str(tmp_path / "none"), "--out", str(out))[0] == 4
