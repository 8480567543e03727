"""The processes of the demo: a broker, the aggregator, the agent. Every one is ended by its pid, whatever happens."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.error
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from agent.parent.status import last_status
from hil.demo.plan import NODE, DemoPlan, node_toml, rack_toml
from hil.rack.broker import Broker, BrokerSpec
from hil.rack.broker_amqtt import open_broker
from hil.rack.pki import LocalCa
from touchline.errors import ResourceError, TouchlineError
from touchline.mqtt import AGGREGATOR
from touchline.shell import note
from touchline.timeline import monotonic_ns, sleep_until

START_S: Final = 90.0
STOP_S: Final = 30.0
POLL_NS: Final = 50_000_000
_LAST_LINES: Final = 8


class Stage:
    """Broker, aggregator and agent in one folder; a context manager. ``url`` is the page's address once it is up."""

    def __init__(self, plan: DemoPlan, folder: Path) -> None:
        self.plan, self.folder = plan, folder
        self.url = ""
        self.broker: Broker | None = None
        self._agent: subprocess.Popen[bytes] | None = None
        self._aggregator: subprocess.Popen[bytes] | None = None
        self._stack = ExitStack()

    @property
    def database(self) -> Path:
        """The match as the aggregator stores it."""
        return self.folder / "match.sqlite"

    def __enter__(self) -> Stage:
        try:
            self._start_all()
        except BaseException:  # also KeyboardInterrupt: end what was started already, then re-raise
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _start_all(self) -> None:
        ca = LocalCa(self.folder / "pki")
        spec = BrokerSpec(self.folder / "broker", ca.server(), plain_port=self.plan.plain_port)
        self.broker, warning = open_broker(spec)
        broker = self.broker
        if warning:
            note(warning)
        self._stack.callback(broker.stop)
        broker.start()
        rack = self.folder / "rack.toml"
        rack.write_text(rack_toml(self.plan, self.folder, broker.port, ca.client(AGGREGATOR)))
        node = self.folder / "node.toml"
        node.write_text(node_toml(self.plan, self.folder, broker.port, ca.client(NODE)))
        self._aggregator = self._spawn("aggregator", "run", "--config", str(rack))
        self.url = self._await_page()
        self._agent = self._spawn("agent", "run", "--config", str(node))

    def _spawn(self, room: str, *words: str) -> subprocess.Popen[bytes]:
        log = self._stack.enter_context((self.folder / f"{room}.log").open("wb"))
        argv = [sys.executable, "-m", "touchline.cli", room, *words]
        child = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        self._stack.callback(_end, child)
        return child

    def _await_page(self) -> str:
        deadline_ns = monotonic_ns() + int(START_S * 1e9)
        while monotonic_ns() < deadline_ns:
            for line in self.log("aggregator"):
                if line.startswith("Page: "):
                    return line.removeprefix("Page: ").strip()
            self.check_alive()
            sleep_until(monotonic_ns() + POLL_NS)
        raise ResourceError("the aggregator did not come up", hint=f"see {self.folder / 'aggregator.log'}")

    def await_frames(self) -> None:
        """Return once the agent says that frames of every camera flow."""
        deadline_ns = monotonic_ns() + int(START_S * 1e9)
        while monotonic_ns() < deadline_ns:
            if self.status().get("state") == "running":
                return
            self.check_alive()
            sleep_until(monotonic_ns() + POLL_NS)
        raise ResourceError("no frames flow", hint=f"see {self.folder / 'agent.log'}")

    def check_alive(self) -> None:
        """Raise with the last words of a process that ended when it should not have."""
        for name, child in (("aggregator", self._aggregator), ("agent", self._agent)):
            if child is not None and child.poll() is not None:
                raise EndedEarlyError(name, child.returncode, self.log(name)[-_LAST_LINES:])
        if self.broker is not None and self.broker.pid is None:
            raise ResourceError("the broker ended", hint=self.broker.log_tail())

    def log(self, name: str) -> list[str]:
        """What a process has said so far."""
        try:
            return (self.folder / f"{name}.log").read_text(errors="replace").splitlines()
        except OSError:
            return []

    def status(self) -> dict[str, Any]:
        """The agent's own status; empty before its first."""
        return last_status(self.folder / "run")

    def stats(self) -> dict[str, Any]:
        """The aggregator's totals; empty while it cannot be asked."""
        try:
            with urllib.request.urlopen(f"{self.url.rstrip('/')}/api/stats", timeout=5.0) as answer:
                stats = json.load(answer)
        except (urllib.error.URLError, OSError, ValueError):
            return {}
        assert isinstance(stats, dict)
        return stats

    def stop_agent(self) -> int:
        """SIGTERM, so that it drains; its exit code."""
        assert self._agent is not None
        return _end(self._agent)

    def stop_aggregator(self) -> int:
        """SIGTERM; its exit code."""
        assert self._aggregator is not None
        return _end(self._aggregator)


class EndedEarlyError(TouchlineError):
    """A process of the demo ended before it was told to; carries that process's exit code."""

    def __init__(self, name: str, code: int, last_words: list[str]) -> None:
        super().__init__(f"the {name} ended with code {code}:\n  " + "\n  ".join(last_words))
        self.exit_code = code if code > 0 else 1  # type: ignore[misc]  # this one error repeats another's code


def _end(child: subprocess.Popen[bytes]) -> int:
    if child.poll() is None:
        child.terminate()
        try:
            child.wait(STOP_S)
        except subprocess.TimeoutExpired:
            child.kill()
    return child.wait()
