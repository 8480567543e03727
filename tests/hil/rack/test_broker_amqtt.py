"""The stand-in broker of the demo: same certificates, and it says what it is not."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from agent.publish.publisher import PublishSettings
from hil.rack.broker import BrokerSpec
from hil.rack.broker_amqtt import FallbackBroker, open_broker
from hil.rack.pki import LocalCa
from tests.agent.publish.rack import QUICK, Rack, frame, run_dry, wait_for
from touchline.errors import ResourceError
from touchline.mqtt import SINK_TOPIC, make_client


def without_mosquitto(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("touchline.run.shutil.which", lambda *args, **kwargs: None)


def test_neither_broker_is_one_line_with_the_fix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_mosquitto(monkeypatch)
    monkeypatch.setattr("hil.rack.broker_amqtt.importlib.util.find_spec", lambda name: None)
    with pytest.raises(ResourceError, match="neither mosquitto nor amqtt is installed — apt install mosquitto"):
        open_broker(BrokerSpec(tmp_path, LocalCa(tmp_path / "pki").server()))


@pytest.mark.system
def test_records_pass_and_it_says_what_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("amqtt", reason="the optional extra demo-broker is not installed")
    without_mosquitto(monkeypatch)
    ca = LocalCa(tmp_path / "pki")
    broker, words = open_broker(BrokerSpec(tmp_path / "broker", ca.server()))
    assert "demo only" in words
    assert isinstance(broker, FallbackBroker)
    rack = Rack(tmp_path, ca, broker)
    broker.start()
    subscriber = rack.subscriber(announce=True)
    publisher = rack.publisher(settings=PublishSettings(link=QUICK, sink_topic=SINK_TOPIC))
    for number in range(100):
        publisher.offer(frame(number))
        publisher.step(0.0)
    run_dry(publisher)
    wait_for(lambda: len(subscriber.frames) == 100, "all frames")
    publisher.close()
    bare = socket.create_connection(("127.0.0.1", broker.port), 60.0)
    bare.close()
    rack.close()
    assert broker.pid is None


@pytest.mark.system
def test_certificates_are_required(tmp_path: Path) -> None:
    pytest.importorskip("amqtt", reason="the optional extra demo-broker is not installed")
    ca = LocalCa(tmp_path / "pki")
    with FallbackBroker(BrokerSpec(tmp_path / "broker", ca.server())) as broker:
        rack = Rack(tmp_path, ca, broker)
        foreign = LocalCa(tmp_path / "other").client("node-a")
        client = make_client(rack.link(foreign, "x", ca_file=ca.ca_file))
        client.connect_async("127.0.0.1", broker.port)
        lost: list[object] = []
        client.on_disconnect = lambda *_: lost.append(1)
        client.dial()
        client.loop_start()
        wait_for(lambda: bool(lost), "the refusal")
        assert not client.is_connected()
        client.loop_stop()
