"""A parent whose children are sockets and descriptors: every life ends when the test says so, with the code it says."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from agent import control
from agent.parent.children import ChildHandle
from agent.parent.parent import Agent
from agent.processes.spec import ChildSpec, Role
from agent.ring import Ring
from agent.supervise import RestartBudget
from touchline.config import NodeConfig


def node_config(folder: Path, **clock: Any) -> NodeConfig:
    """One pattern camera."""
    files = dict.fromkeys(("ca_file", "cert_file", "key_file"), "x.pem")
    camera = {"number": 1, "source": "pattern", "calibration": "c.json", "width_px": 64, "height_px": 64}
    return NodeConfig.model_validate(
        {
            "node": {"name": "n", "run_dir": str(folder)},
            "clock": clock,
            "camera": [camera],
            "ring": {"slots": 4, "lock": "off"},
            "publish": {"spool_dir": str(folder / "spool")},
            "mqtt": {"host": "rack", **files},
        }
    )


@dataclass
class Life:
    """A process of which only the end matters."""

    code: int = 0
    pid: int = 1
    killed: bool = False

    def wait(self) -> int:
        return self.code

    def kill(self) -> None:
        self.killed = True


@dataclass
class Child:
    """A handle and the child's end of its socket."""

    handle: ChildHandle
    life: Life
    end: socket.socket

    def say(self, **message: Any) -> None:
        """A message to the parent, heard at once."""
        assert control.send(self.end, message)
        self.handle.hear()

    def heard(self) -> list[dict[str, Any]]:
        """What the parent has said since the last time."""
        messages = []
        while (message := control.receive(self.end)) is not None:
            messages.append(message)
        return messages


class Parent:
    """An agent with a publisher, an inference and a capture of one camera, and a clock."""

    def __init__(self, folder: Path, *, limit: int = 1, **clock: Any) -> None:
        self.agent = Agent(node_config(folder, **clock), folder / "node.toml")
        self.agent._rings = {0: cast(Ring, object())}
        self.limit = limit
        self._lives: list[Child] = []
        self.clock = self.add(Role.CLOCK)
        self.publisher = self.add(Role.PUBLISHER)
        self.inference = self.add(Role.INFERENCE, 0)
        self.capture = self.add(Role.CAPTURE, 0)
        self.agent._was_running = True

    def add(self, role: Role, camera: int | None = None) -> Child:
        handle = ChildHandle(ChildSpec(role, "node.toml", -1, "00" * 16, camera), (), RestartBudget(self.limit, 60.0))
        self.agent._children.append(handle)
        return self.begin(handle)

    def begin(self, handle: ChildHandle) -> Child:
        """A life of a child."""
        life = Life()
        handle.control, end = control.pair()
        handle.process, handle.pidfd, handle.restart_ns = cast(Any, life), os.eventfd(0), None
        for fd in (handle.control, handle.pidfd):
            self.agent._selector.register(fd, 1, handle)
        self._lives.append(Child(handle, life, end))
        return self._lives[-1]

    def ends(self, child: Child, code: int) -> None:
        """The child's life ends."""
        child.life.code = code
        self.agent._on_exit(child.handle)
        child.end.close()

    def state(self, trouble: str = "") -> tuple[str, str]:
        """What the parent says of the node."""
        return self.agent._state(10**15, trouble)

    def ended(self) -> tuple[str, int] | None:
        """Why and with which code the agent ends; None while it goes on."""
        drain = self.agent._drain
        return None if drain is None else (drain.reason, drain.exit_code)

    def close(self) -> None:
        """Give back every descriptor."""
        self.agent._selector.close()
        for child in self._lives:
            child.end.close()
            if child.handle.control is not None:
                child.handle.control.close()
                os.close(child.handle.pidfd)
                child.handle.control = None
