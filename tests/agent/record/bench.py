"""One or two recorder processes as the agent starts them, fed by one camera that both of them see."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from agent import control
from agent.processes.spec import ChildSpec, Role
from agent.ring import Ring, RingSpec, RingWriter
from agent.rings import RECORDER_READER
from hil.rack.pki import Identity, LocalCa
from touchline.timeline import ClockState, Stamp, monotonic_ns, sleep_until

WIDTH, HEIGHT, RATE_HZ, SLOTS = 320, 192, 50.0, 200
FRAME_BYTES = WIDTH * HEIGHT * 3
PERIOD_NS = round(1e9 / RATE_HZ)
PATIENCE = SLOTS // 8  # frames that a recorder may have before it; at twice that it passes some over
DEADLINE_S = 60.0
PTP_NS = 1_800_000_000_000_000_123  # of the first frame, as if it were 2027


def picture(number: int) -> bytes:
    """A picture that moves, and whose grey says its number."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    waves = (np.sin((x + 5 * number) / 17) + np.cos((y + 3 * number) / 11)) * 50 + 110
    waves[:32, :32] = number * 8 % 200 + 20
    return np.repeat(waves.astype(np.uint8)[:, :, None], 3, axis=2).tobytes()


PICTURES = [picture(number) for number in range(25)]


class Camera(threading.Thread):
    """Writes the same pictures into every ring, each node with its own clock's error, paced by the real clock.

    ``patient``: it waits for living recorders that are far behind, as if time stood still meanwhile: what this machine
    does not run is to cost no frame. A real camera waits for nobody.
    """

    def __init__(self, rings: dict[str, Ring], offsets_ns: dict[str, int] | None = None, rate_hz: float = RATE_HZ):
        super().__init__(daemon=True)
        self.rings, self.patient = rings, True
        self.writers = {name: RingWriter(ring) for name, ring in rings.items()}
        self.offsets_ns = offsets_ns or {}
        self.period_ns = round(1e9 / rate_hz)
        self.over = threading.Event()
        self._still, self._stands = threading.Event(), threading.Event()
        self.sent = 0
        self.times: list[int] = []
        self.sleeps: Callable[[int], int] = lambda number: 0  # ns by which the exposure of a frame is later

    def run(self) -> None:
        begin_ns = monotonic_ns()
        shift = 0
        while not self.over.is_set():
            shift += self.sleeps(self.sent)
            at = self.sent * self.period_ns + shift
            sleep_until(begin_ns + at)
            if self._still.is_set():
                self._stands.set()
                shift += self.period_ns
                continue
            ready_ns = monotonic_ns()
            self.hold_back()
            begin_ns += monotonic_ns() - ready_ns
            self.send(PTP_NS + at)
        for writer in self.writers.values():
            writer.close()

    def send(self, ptp_ns: int) -> None:
        """One exposure, seen by all."""
        for name, writer in self.writers.items():
            writer.acquire()[:FRAME_BYTES] = PICTURES[self.sent % len(PICTURES)]
            own = ptp_ns + self.offsets_ns.get(name, 0)
            writer.commit(self.sent, Stamp(own, 250, 1, ClockState.LOCKED))
        self.times.append(ptp_ns)
        self.sent += 1

    def hold_back(self) -> None:
        """Wait for recorders that are far behind, if it is patient."""
        while self.patient and not self.over.is_set() and any(map(_is_behind, self.rings.values())):
            sleep_until(monotonic_ns() + 2_000_000)

    def halt(self) -> None:
        """No exposure until :meth:`go_on`; the last one is in the rings when this returns."""
        self._stands.clear()
        self._still.set()
        assert self._stands.wait(DEADLINE_S)

    def go_on(self) -> None:
        """Exposures again, after a pause."""
        self._still.clear()

    def stop(self) -> None:
        """Close the rings in good order."""
        self.over.set()
        self.join()


def _is_behind(ring: Ring) -> bool:
    place = ring.ledger().readers[RECORDER_READER]
    return place.pid != 0 and place.lag > PATIENCE and Path(f"/proc/{place.pid}").exists()


class Node:
    """One recorder process and its parent's end."""

    def __init__(
        self, folder: Path, name: str, twin: str = "", identity: Identity | None = None, **record: Any
    ) -> None:
        self.name, self.folder = name, folder
        self.ring = Ring.create(RingSpec(SLOTS, FRAME_BYTES, readers=2), lock="off")
        self.recordings = folder / "recordings"
        self.config = folder / "node.toml"
        folder.mkdir(parents=True, exist_ok=True)
        encoder = "libx265" if record.get("codec") == "hevc" else "libx264"  # "auto" has things to say
        self.record: dict[str, Any] = {
            "folder": str(self.recordings),
            "preset": "ultrafast",
            "min_free": "1MiB",
            "encoder": encoder,
        }
        self.record |= record
        self._write_config(twin, identity)
        self.process: subprocess.Popen[bytes] | None = None
        self.end: Any = None
        self.events: list[dict[str, str]] = []
        self.report: dict[str, Any] = {}
        self.ready: dict[str, Any] | None = None
        self.failed = ""

    def _write_config(self, twin: str, identity: Identity | None) -> None:
        files = identity or Identity(Path("x.pem"), Path("x.pem"), Path("x.pem"))
        text = [f'[node]\nname = "{self.name}"\nrun_dir = "{self.folder}"']
        text.append(f'[[camera]]\nnumber = 1\nsource = "pattern"\nwidth_px = {WIDTH}\nheight_px = {HEIGHT}')
        text.append(f'rate_hz = {RATE_HZ}\ncalibration = "c.json"')
        text.append(f'[publish]\nspool_dir = "{self.folder}/spool"')
        text.append(f'[mqtt]\nhost = "rack"\nca_file = "{files.ca_file}"\ncert_file = "{files.cert_file}"')
        text.append(f'key_file = "{files.key_file}"')
        if twin:
            text.append(f'[failover]\npair = "p"\ntwin = "{twin}"\nwitness = "127.0.0.1:7411"')
            text.append('paths = [["127.0.0.1:7400", "127.0.0.1:7401"]]')
        values = {key: f'"{value}"' if isinstance(value, str) else value for key, value in self.record.items()}
        text.append("[record]\n" + "\n".join(f"{key} = {value}" for key, value in values.items()))
        self.config.write_text("\n".join(text) + "\n")

    def start(self) -> Node:
        """Begin a life."""
        self.end, theirs = control.pair()
        fds = self.ring.fds()
        spec = ChildSpec(Role.RECORDER, str(self.config), theirs.fileno(), "00" * 16, 0, fds.to_text())
        argv = [sys.executable, "-m", "agent.processes", spec.to_text(), str(os.getpid())]
        with (self.folder / "log").open("ab") as log, theirs:
            self.process = subprocess.Popen(argv, pass_fds=(theirs.fileno(), *fds.all()), stdout=log, stderr=log)
        self.ready, self.failed, self.report = None, "", {}
        return self

    def hear(self) -> None:
        """Take what it said."""
        try:
            while (message := control.receive(self.end)) is not None:
                kind = message["type"]
                if kind == "events":
                    self.events += message["events"]
                elif kind == "report":
                    self.report = message
                elif kind == "ready":
                    self.ready = message
                elif kind == "failed":
                    self.failed = f"{message['message']} — {message['hint']}"
        except control.PeerGoneError:
            pass

    def wait_for(self, what: Callable[[], Any], timeout_s: float = DEADLINE_S) -> Any:
        """Hear it until something is true."""
        deadline_ns = monotonic_ns() + int(timeout_s * 1e9)
        while monotonic_ns() < deadline_ns:
            self.hear()
            if found := what():
                return found
            sleep_until(monotonic_ns() + 5_000_000)
        raise AssertionError(
            f"{self.name}: not within {timeout_s} s: {self.report} {self.events} {self.failed} {self.log}"
        )

    def wait_until_up(self) -> None:
        """It records, or says why not."""
        self.wait_for(lambda: self.ready or self.failed)

    @property
    def log(self) -> str:
        """What it wrote."""
        return (self.folder / "log").read_text()

    def codes(self) -> list[str]:
        """The events' codes so far."""
        self.hear()
        return [event["code"] for event in self.events]

    def role(self, role: str, epoch: int) -> None:
        """What the parent says of the role."""
        assert control.send(self.end, {"type": "role", "role": role, "epoch": epoch})

    def counter(self, name: str) -> int:
        """A counter of its last report."""
        self.hear()
        return int(self.report.get("counters", {}).get(name, 0))

    def recording(self) -> dict[str, Any]:
        """Its own document."""
        self.hear()
        found: dict[str, Any] = self.report.get("recording", {})
        return found

    def ffmpeg_pids(self) -> list[int]:
        """Its encoders."""
        assert self.process is not None
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return [int(pid) for pid in children]

    def stop(self) -> int:
        """Tell it to stop; its exit code."""
        control.send(self.end, {"type": "stop"})
        return self.wait()

    def wait(self) -> int:
        """Its exit code once it has ended by itself; what it said until then is heard."""
        assert self.process is not None
        code = self.process.wait(DEADLINE_S)
        self.hear()
        return code

    def kill(self) -> None:
        """As a power cut would, but for the disk."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def close(self) -> None:
        """End what still runs, by pid."""
        if self.process is not None and self.process.poll() is None:
            self.kill()
        if self.end is not None:
            self.end.close()
        self.ring.close()

    def files(self, mirror: bool = False) -> list[Path]:
        """Its files of camera 1, oldest first."""
        folder = self.recordings / "mirror" / "cam1" if mirror else self.recordings / "cam1"
        return sorted(folder.glob("*.mp4"))


def pair_of(folder: Path, ports: tuple[int, int], **record: Any) -> tuple[Node, Node]:
    """Two nodes that mirror each other over TLS."""
    ca = LocalCa(folder / "pki")
    addresses = [f"127.0.0.1:{port}" for port in ports]
    nodes = []
    for name, twin, own, peer in (("node-a", "node-b", 0, 1), ("node-b", "node-a", 1, 0)):
        mirror = {"mirror_listen": addresses[own], "mirror_peer": addresses[peer]}
        nodes.append(Node(folder / name, name, twin, ca.client(name), **mirror, **record))
    return nodes[0], nodes[1]
