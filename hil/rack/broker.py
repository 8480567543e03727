"""Mosquitto on loopback: mutual TLS 1.3, one topic tree per identity, sessions that outlive a crash.

A client's identity is the common name of its certificate; it may write below ``tl/v1/<itself>/`` and nothing else, the
aggregator may read every node's tree. The process is ended by its pid, whatever happens to ours.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final

from hil.rack.pki import Identity
from touchline.errors import ResourceError
from touchline.mqtt import AGGREGATOR, SINK_TOPIC
from touchline.run import need
from touchline.timeline import monotonic_ns, sleep_until

AUTOSAVE_S: Final = 2

_START_DEADLINE_NS: Final = 30_000_000_000
_STOP_DEADLINE_S: Final = 20.0  # killed before it has saved its sessions, it would lose what it acknowledged
_POLL_NS: Final = 5_000_000
_PORT_TRIES: Final = 5
_RUNNING: Final = " running\n"  # "mosquitto version 2.0.11 running": its listeners are up, its certificates loaded

_ACL: Final = f"""\
# every identity writes below its own name, and hears which sink is listening
pattern write tl/v1/%u/#
pattern read tl/v1/%u/#
pattern read {SINK_TOPIC}

user {AGGREGATOR}
topic read tl/v1/#
"""


@dataclass(frozen=True, slots=True)
class BrokerSpec:
    """What to start. ``port`` 0 picks a free one; ``plain_port`` None means no unencrypted listener, 0 a free port.

    The plain listener takes anonymous clients without ACL; it exists for dissector tests and stays on loopback.
    ``namespace``: the network namespace to run in; ``host`` is then an address there and ``port`` the caller's choice.
    """

    folder: Path
    identity: Identity
    port: int = 0
    plain_port: int | None = None
    host: str = "127.0.0.1"
    max_queued_bytes: int = 256 << 20
    namespace: str | None = None


class Broker:
    """One broker process (Mosquitto). Use as a context manager, or call :meth:`start` and :meth:`stop`.

    Start it from a thread that lives as long as it should: where setpriv exists, the broker ends with that thread.

    After :meth:`start`, ``port`` and ``plain_port`` are the real ones and stay so over restarts. Raises
    :class:`ResourceError` when Mosquitto is missing, a port is taken, or it does not come up.
    """

    def __init__(self, spec: BrokerSpec) -> None:
        self.program = self._find_program()
        self.spec = spec
        self.port = spec.port
        self.plain_port = spec.plain_port
        self.log_file = spec.folder.resolve() / "broker.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """Process id while it runs."""
        return self._process.pid if self._process and self._process.poll() is None else None

    def start(self) -> None:
        """Start and return once every listener accepts connections."""
        if self.pid is not None:
            return
        tries = _PORT_TRIES if self.port == 0 else 1
        for left in reversed(range(tries)):
            port = self.port or _free_port(self.spec.host)
            plain = _free_port(self.spec.host) if self.plain_port == 0 else self.plain_port
            try:
                self._launch(port, plain)
            except _PortTaken as taken:
                if left == 0:
                    raise ResourceError(str(taken), hint="stop what holds it, or choose another port") from taken
                continue
            self.port, self.plain_port = port, plain
            return

    def stop(self) -> None:
        """Ask it to end (it saves its sessions), then insist."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL, as a crash would: what it had not saved is lost."""
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        """SIGSTOP: the port still accepts, nobody answers."""
        if self._process:
            self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Undo :meth:`pause`."""
        if self._process:
            self._process.send_signal(signal.SIGCONT)

    def log_tail(self, lines: int = 5) -> str:
        """The last lines of its log, for messages."""
        try:
            return "\n".join(self.log_file.read_text(errors="replace").splitlines()[-lines:])
        except OSError:
            return ""

    def __enter__(self) -> Broker:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()

    def _find_program(self) -> str:
        return need("mosquitto", "mosquitto")

    def _argv(self, port: int, plain_port: int | None) -> list[str]:
        return [self.program, "-c", str(write_config(self.spec, port, plain_port))]

    def _launch(self, port: int, plain_port: int | None) -> None:
        for taken in (port, plain_port) if self.spec.namespace is None else ():
            if taken is not None and not _can_bind(self.spec.host, taken):
                raise _PortTaken(f"port {taken} on {self.spec.host} is in use")
        argv = [*inside(self.spec.namespace), *self._argv(port, plain_port)]
        if (setpriv := shutil.which("setpriv")) is not None:  # it must not outlive a killed parent
            argv = [setpriv, "--pdeathsig", "TERM", *argv]
        offset = self.log_file.stat().st_size if self.log_file.exists() else 0
        self._process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C reaches us first: the agent drains while the broker still answers
        )
        deadline_ns = monotonic_ns() + _START_DEADLINE_NS
        while _RUNNING not in self._said_since(offset):  # a trial connection would leave its failure in OpenSSL's queue
            if self._process.poll() is not None:
                self._explain_death(port, offset)
            if monotonic_ns() > deadline_ns:
                self.kill()
                raise ResourceError(f"the broker did not listen on port {port} within 30 s: {self.log_tail(1)}")
            sleep_until(monotonic_ns() + _POLL_NS)

    def _said_since(self, offset: int) -> str:
        try:
            with self.log_file.open("rb") as log:
                log.seek(offset)
                return log.read().decode(errors="replace")
        except OSError:
            return ""

    def _explain_death(self, port: int, log_offset: int) -> None:
        said = self._said_since(log_offset)
        if "Address already in use" in said:
            raise _PortTaken(f"port {port} on {self.spec.host} is in use")
        last = said.strip().splitlines()[-1:] or ["it wrote no log"]
        raise ResourceError(f"the broker ended at its start: {last[0]}", hint=f"see {self.log_file}")

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        if process.poll() is None:
            process.send_signal(signal.SIGCONT)
            process.send_signal(how)
        try:
            process.wait(_STOP_DEADLINE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class _PortTaken(Exception):
    """A listener's port is in use."""


def inside(namespace: str | None) -> list[str]:
    """What to put before a command so that it runs in a network namespace; it becomes that command, same pid."""
    return [] if namespace is None else [need("ip", "iproute2"), "netns", "exec", namespace]


def write_config(spec: BrokerSpec, port: int, plain_port: int | None) -> Path:
    """Write ``mosquitto.conf`` and ``acl`` into the folder; return the configuration's path."""
    spec.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    acl = spec.folder / "acl"
    acl.write_text(_ACL)
    acl.chmod(0o600)
    lines = [
        "per_listener_settings true",
        f"user {pwd.getpwuid(os.geteuid()).pw_name}",  # else it becomes 'mosquitto' and cannot read our 0600 key
        "persistence true",
        f"persistence_location {spec.folder.resolve()}/",
        f"autosave_interval {AUTOSAVE_S}",
        "max_inflight_messages 0",
        "max_queued_messages 0",  # the default of 1000 drops silently; the bytes below bound it instead
        f"max_queued_bytes {spec.max_queued_bytes}",
        "max_packet_size 1048576",
        "set_tcp_nodelay true",
        f"log_dest file {spec.folder.resolve()}/broker.log",
        "log_type error",
        "log_type warning",
        "log_type notice",
        "log_type information",
        "connection_messages true",
        "log_timestamp_format %Y-%m-%dT%H:%M:%S",
        "",
        f"listener {port} {spec.host}",
        f"cafile {spec.identity.ca_file.resolve()}",
        f"certfile {spec.identity.cert_file.resolve()}",
        f"keyfile {spec.identity.key_file.resolve()}",
        "tls_version tlsv1.3",
        "require_certificate true",
        "use_identity_as_username true",
        "allow_anonymous false",
        f"acl_file {acl.resolve()}",
    ]
    if plain_port is not None:
        lines += ["", f"listener {plain_port} {spec.host}", "allow_anonymous true"]
    config = spec.folder / "mosquitto.conf"
    config.write_text("\n".join(lines) + "\n")
    return config


def _free_port(host: str) -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def _can_bind(host: str, port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True
