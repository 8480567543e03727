"""The real process over a folder in sysfs' place: shaken, killed, restarted, reset; the order of its system calls."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tests.thermal.protect.test_accelerometer import device
from thermal.protect.cli import protect
from thermal.protect.events import read_events
from thermal.protect.status import read_status
from touchline.errors import ConfigError, GateError, LinkError, ResourceError
from touchline.timeline import monotonic_ns, sleep_until

pytestmark = pytest.mark.system
REPO = Path(__file__).parents[3]
TOML = """
[node]
name = "pitch-a1"
run_dir = "{run}"
[[camera]]
number = 1
source = "pattern"
calibration = "camera.json"
[publish]
spool_dir = "spool"
[mqtt]
host = "rack"
ca_file = "ca"
cert_file = "cert"
key_file = "key"
[protect]
relay_line = "relay"
disk_mount = ""
sample_ms = 10.0
flush_paths = ["{run}"]
{more}
"""


class Node:
    """A protect service of its own: accelerometer in files, relay in a stand-in for gpiod."""

    def __init__(self, folder: Path, more: str = "") -> None:
        self.folder, self.run_dir, self.state = folder, folder / "run", folder / "state"
        for made in (self.run_dir, folder / "fake"):
            made.mkdir(exist_ok=True)
        self.config = folder / "node.toml"
        self.config.write_text(TOML.format(run=self.run_dir, more=more))
        (folder / "fake" / "gpiod.py").write_text("from tests.thermal.protect.gpiod_fake import *\n")
        gpio = {str(folder / "gpiochip0"): {"label": "tegra-gpio", "lines": {"relay": None}}}
        (folder / "gpio.json").write_text(json.dumps(gpio))
        (folder / "gpiochip0").touch()
        (folder / "sitecustomize.py").write_text(
            f"import pathlib, thermal.protect.lines as lines\nlines.DEVICES = pathlib.Path({str(folder)!r})\n"
        )
        self.sensor = device(folder, 0)
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *before: str) -> None:
        words = [*before, sys.executable, "-m", "touchline.cli", "protect", "run", "--config", str(self.config)]
        words += ["--sysfs-root", str(self.folder), "--state-dir", str(self.state)]
        path = os.pathsep.join([str(self.folder / "fake"), str(self.folder), str(REPO)])
        env = {**os.environ, "PYTHONPATH": path, "FAKE_GPIO": str(self.folder / "gpio.json")}
        (self.run_dir / "protect.json").unlink(missing_ok=True)  # of the life before
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(words, env=env, stdout=log, stderr=log)
        self.until(lambda: self.status().get("turns", 0) > 1, "a start")

    def pid_alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def status(self) -> dict[str, Any]:
        told = read_status(self.run_dir / "protect.json", monotonic_ns())
        return dict(told.document) if told.good else {}

    def shake(self, milli_g: int) -> None:
        beside = self.sensor / "raw.new"
        beside.write_text(f"{milli_g}\n")
        beside.replace(self.sensor / "in_accel_z_raw")

    def until(self, holds, what: str, timeout_s: float = 60.0) -> None:
        deadline_ns = monotonic_ns() + round(timeout_s * 1e9)
        while not holds():
            assert monotonic_ns() < deadline_ns, f"no {what}: {self.status()}\n{(self.folder / 'log').read_text()}"
            sleep_until(monotonic_ns() + 10_000_000)

    def rest(self) -> None:
        self.until(lambda: self.status().get("accelerometer", {}).get("rest"), "rest")

    def lost(self) -> str:
        """What its alarm of a lost sensor says, "" without one."""
        faults = self.status().get("faults", ())
        return next((str(one["text"]) for one in faults if one["code"] == "sensor_lost"), "")

    def reset(self) -> str:
        """By a person, at rest: a machine that samples late ends a rest, and another one follows."""
        said: list[str] = []

        def done() -> bool:
            try:
                said.append(self.call("reset", "--yes"))
            except GateError as error:
                if "not at rest" not in str(error):
                    raise
            return bool(said)

        self.until(done, "reset")
        return said[0]

    def relay(self) -> list[str]:
        path = self.folder / "gpio.json.log"
        return path.read_text().splitlines() if path.exists() else []

    def kinds(self) -> list[str]:
        return [event["kind"] for event in read_events(self.state)]

    def end(self, number: int = signal.SIGTERM) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(60)

    def call(self, *words: str) -> str:
        done = CliRunner().invoke(
            protect, [words[0], "--config", str(self.config), *words[1:]], catch_exceptions=True, standalone_mode=False
        )
        if done.exception is not None:
            raise done.exception
        return done.output


@pytest.fixture
def node(tmp_path):
    made = Node(tmp_path, "sensor_lost_s = 10.0")  # a busy machine loses no sensor
    yield made
    if made.pid_alive():
        made.end(signal.SIGKILL)


def test_a_life(node):
    node.start()
    assert node.relay() == ["request relay 1"]
    node.rest()
    node.until(lambda: "at rest" in node.call("status"), "word of it")
    assert "cut for 0.5 s; the line reads cut" in node.call("test", "--seconds", "0.5", "--yes")
    node.until(lambda: "test_over" in node.kinds(), "the test's end")
    assert node.relay()[1:] == ["set relay 0", "set relay 1"]

    node.shake(2500)
    node.until(lambda: node.status().get("latched"), "the cut")
    assert node.relay()[-1] == "set relay 0"
    with pytest.raises(GateError, match="not at rest"):
        node.call("reset", "--yes")
    with pytest.raises(GateError, match="cut"):
        node.call("status", "--check")

    node.until(lambda: "cut" in node.kinds(), "the event of it")
    node.end(signal.SIGKILL)
    node.shake(1000)
    with pytest.raises(LinkError):
        node.call("reset", "--yes")
    node.start()
    assert node.relay()[-1] == "request relay 0", "cut from the request on, after a kill"
    node.rest()
    assert "CAMERAS CUT" in node.call("status")
    assert "reset; cameras are fed" in node.reset()
    assert node.relay()[-1] == "set relay 1"
    assert node.end() == 0
    assert node.kinds() == ["start", "test", "test_over", "shaken", "cut", "start_latched", "reset"]
    with pytest.raises(LinkError):
        node.call("status")


@pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed here")
def test_the_order_of_system_calls(node):
    """fdatasync of the event and fsync of the latch, both returned, before the relay's line is written to."""
    trace = node.folder / "strace"
    probe = subprocess.run(["strace", "-o", "/dev/null", "true"], capture_output=True, check=False)
    if probe.returncode:
        pytest.skip("strace may not trace here")
    node.start("strace", "-f", "-y", "-s", "200", "-o", str(trace), "-e", "trace=write,fsync,fdatasync,rename,unlink")
    node.shake(2500)
    node.until(lambda: "cut" in node.kinds(), "the cut", 60.0)
    child = re.findall(r"^(\d+) ", trace.read_text(), re.M)[0]
    os.kill(int(child), signal.SIGTERM)
    assert node.process is not None
    node.process.wait(60)
    lines = trace.read_text().splitlines()

    def first(pattern: str, after: int = 0) -> int:
        return next(index for index in range(after, len(lines)) if re.search(pattern, lines[index]))

    latched = first(r"fsync\(\d+<.*latch\.json\.new>(\) += 0| <unfinished)")
    if "unfinished" in lines[latched]:
        latched = first(r"<\.\.\. fsync resumed>.*= 0", latched)
    named = first(r'rename\(".*latch\.json\.new"')
    written = first(r"write\(\d+<.*protect\.jsonl>, .*shaken")
    synced = first(r"fdatasync\(\d+<.*protect\.jsonl>(\) += 0| <unfinished)", written)
    if "unfinished" in lines[synced]:
        synced = first(r"<\.\.\. fdatasync resumed>.*= 0", synced)
    moved = first(r'write\(\d+<.*gpio\.json\.log>, "set relay 0')
    assert latched < named < written < synced < moved


def test_killed_anywhere_around_the_cut_it_is_cut_in_the_end_and_the_event_is_there(node):
    node.start()
    node.shake(2500)
    killers = (0.0, 0.35, 0.5, 0.52, 0.56)
    for pause_s in killers:
        sleep_until(monotonic_ns() + round(pause_s * 1e9))
        node.end(signal.SIGKILL)
        cut = [line for line in node.relay() if line in ("set relay 0", "request relay 0")]
        assert not cut or {"shaken", "start_latched"} & set(node.kinds())
        node.start()
    node.until(lambda: node.status().get("latched"), "the cut")
    assert node.relay()[-1].endswith("relay 0")


def test_a_sensor_that_goes_away_is_an_alarm_and_cuts_where_told(tmp_path):
    node = Node(tmp_path, 'on_sensor_loss = "cut"')
    node.start()
    try:
        gone = node.sensor.rename(node.sensor.with_name("gone"))
        node.until(lambda: node.status().get("latched"), "the cut")
        node.until(lambda: "no IIO device 'lis3dh'" in node.lost(), "what is lost")
        assert node.relay()[-1] == "set relay 0"
        gone.rename(gone.with_name("iio:device4"))
        node.rest()
        node.reset()
        assert node.relay()[-1] == "set relay 1"
    finally:
        node.end()


def test_a_read_that_hangs_is_a_lost_sensor_and_everything_else_goes_on(node):
    """An axis that is a pipe: opening it waits for a writer that never comes, as a stuck bus waits for its chip."""
    node.config.write_text(node.config.read_text().replace("sensor_lost_s = 10.0", "sensor_lost_s = 2.0"))
    node.start()
    node.rest()
    axis = node.sensor / "in_accel_x_raw"
    axis.unlink()
    os.mkfifo(axis)
    node.until(lambda: "has not come back" in node.lost(), "the alarm")
    assert "has not come back" in node.status()["accelerometer"]["lost"]
    turns = node.status()["turns"]
    node.until(lambda: node.status().get("turns", 0) > turns + 50, "turns")
    assert "cut for 0.5 s" in node.call("test", "--seconds", "0.5", "--yes")
    node.until(lambda: "test_over" in node.kinds(), "the test's end")
    assert node.end() == 0, "a read that hangs keeps nobody from a stop"


def test_a_second_service_is_refused(node):
    node.start()
    with pytest.raises(ResourceError, match="another protect service"):
        node.call("run", "--state-dir", str(node.state))
    assert node.status()


def test_flush_logs_by_hand_writes_where_the_services_link_leads(node):
    kept = node.folder / "touchline-flush"
    kept.mkdir()
    (node.run_dir / "flush.json").symlink_to(kept / "flush.json")
    node.call("flush-logs")
    assert (node.run_dir / "flush.json").is_symlink()
    assert json.loads((kept / "flush.json").read_text())["runs"] == 1


def test_flush_logs(node):
    assert "flushed in" in node.call("flush-logs")
    found = json.loads(node.call("flush-logs", "--json"))
    assert found["runs"] == 2
    assert found["ok"]


def test_flush_trace_of_an_empty_ring(node):
    assert "empty" in node.call("flush-trace")


def test_needed(node, tmp_path):
    for words, code in ((["needed"], 0), (["needed", "--part", "trace"], 0)):
        done = CliRunner().invoke(protect, [*words, "--config", str(node.config)])
        assert done.exit_code == code
    node.config.write_text(node.config.read_text().partition("[protect]")[0])
    assert CliRunner().invoke(protect, ["needed", "--config", str(node.config)]).exit_code == 1
    with pytest.raises(ConfigError, match="has no"):
        node.call("status")
    node.config.write_text("nonsense")
    assert CliRunner().invoke(protect, ["needed", "--config", str(node.config)]).exit_code == 255


def test_strangers_at_the_socket_are_answered_and_hold_nobody_up(node):
    import socket

    node.start()
    path = str(node.run_dir / "protect.sock")
    assert Path(path).stat().st_mode & 0o777 == 0o600
    for raw in (b"x", b"{}", b'{"do": 1}', b'{"do": "dance"}', b'{"do": "test", "seconds": "x"}', b"[" * 4000):
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as caller:
            caller.settimeout(60.0)
            caller.connect(path)
            caller.send(raw)
            assert json.loads(caller.recv(4096))["done"] is False
    idle = [socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(3)]
    for one in idle:
        one.connect(path)
    turns = node.status()["turns"]
    node.until(lambda: node.status().get("turns", 0) > turns + 50, "turns")
    for one in idle:
        one.close()
    assert node.relay() == ["request relay 1"]
    assert threading.active_count() < 20
