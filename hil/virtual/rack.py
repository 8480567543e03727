"""The rack side of the virtual network: a CA, Mosquitto, aggregator and witness, in the network's own namespace.

``python -m hil.virtual.rack FOLDER NAMESPACE`` holds them until SIGTERM, for nodes that outlive the command that
booted them.
"""

from __future__ import annotations

import json
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from aggregator.export import Audit, audit
from hil.rack.broker import Broker, BrokerSpec, inside
from hil.rack.pki import Identity, LocalCa
from hil.virtual.passenger.seat import BROKER_PORT
from hil.virtual.ports import RACK_ADDRESS
from touchline.errors import InputError, ResourceError
from touchline.mqtt import AGGREGATOR
from touchline.shell import guarded
from touchline.timeline import monotonic_ns, sleep_until

UP_MARK: Final = "up"
PAGE_PORT: Final = 8080
WITNESS_PORT: Final = 7401
_START_S: Final = 30.0
_STOP_S: Final = 15.0
_POLL_NS: Final = 50_000_000
_LOOK_NS: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Start:
    """What the rack stored of one start (boot id) of a node's publisher: record numbers ``first`` to ``last``."""

    boot_id: str
    records: int
    first: int
    last: int

    @property
    def missing(self) -> int:
        """Numbers between the first and the last that never came."""
        return self.last - self.first + 1 - self.records


@dataclass(frozen=True, slots=True)
class RackIdentities:
    """Certificates and keys of broker and aggregator.

    They are kept with a snapshot, whose nodes trust only the CA that signed them; the CA's own key is never on disk.
    """

    broker: Identity
    aggregator: Identity

    @classmethod
    def issue(cls, ca: LocalCa) -> RackIdentities:
        """New ones, in the CA's folder."""
        return cls(ca.server((RACK_ADDRESS,)), ca.client(AGGREGATOR))

    @classmethod
    def kept_in(cls, folder: Path) -> RackIdentities:
        """Those that lie in ``folder``. Raises InputError naming the file that is missing."""
        names = ("broker", AGGREGATOR)
        wanted = [folder / "ca.crt", *(folder / f"{name}{end}" for name in names for end in (".crt", ".key"))]
        for path in wanted:
            if not path.is_file():
                raise InputError(f"{path} is missing: the rack's identity is incomplete", hint="boot afresh")
        broker, aggregator = (Identity(wanted[0], folder / f"{name}.crt", folder / f"{name}.key") for name in names)
        return cls(broker, aggregator)

    def copy_to(self, folder: Path) -> RackIdentities:
        """The same in another folder, keys still readable by their owner only."""
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for party in (self.broker, self.aggregator):
            for path in (party.ca_file, party.cert_file, party.key_file):
                shutil.copy(path, folder / path.name)
        return self.kept_in(folder)


class VirtualRack:
    """Broker, aggregator and witness of one virtual network. A context manager, or :meth:`start` and :meth:`stop`."""

    def __init__(self, folder: Path, namespace: str, identities: RackIdentities) -> None:
        self.folder, self.namespace, self.identities = folder, namespace, identities
        self.database = folder / "match.sqlite"
        spec = BrokerSpec(
            folder / "broker", identities.broker, port=BROKER_PORT, host=RACK_ADDRESS, namespace=namespace
        )
        self.broker = Broker(spec)
        self._programs: dict[str, subprocess.Popen[bytes]] = {}
        self._awaited: dict[str, str] = {}  # program -> what its log says once it is up

    def start(self) -> None:
        """Return once the broker listens, the aggregator's page is up and the witness serves."""
        self.begin()
        self.begin_witness()
        self.await_up()

    def begin(self) -> None:
        """Return once the broker listens; the aggregator comes up meanwhile, :meth:`await_up` waits for it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.broker.start()
        self._begin("aggregator", "Page: ", "aggregator", "run")

    def begin_witness(self) -> None:
        """Start the witness, over the epochs that it kept; :meth:`await_up` waits for it."""
        self._begin("witness", "witness at ", "failover", "witness")

    def start_aggregator(self) -> None:
        """Start the aggregator alone, over what it stored before."""
        self._begin("aggregator", "Page: ", "aggregator", "run")
        self.await_up()

    def start_witness(self) -> None:
        """Start the witness alone, over the epochs that it kept."""
        self.begin_witness()
        self.await_up()

    def stop_aggregator(self) -> None:
        """SIGTERM to the aggregator, by pid."""
        self._stop("aggregator")

    def stop_witness(self) -> None:
        """SIGTERM to the witness, by pid."""
        self._stop("witness")

    def stop(self) -> None:
        """End all of them, by pid."""
        self._stop(*self._programs)
        self.broker.stop()

    def await_up(self) -> None:
        """Return once every program that was begun has said that it is up; ResourceError with its last words if not."""
        deadline_ns = monotonic_ns() + int(_START_S * 1e9)
        while self._awaited:
            name, up = next(iter(self._awaited.items()))
            said = (self.folder / f"{name}.log").read_text(errors="replace")
            if up in said:
                del self._awaited[name]
                continue
            if self._programs[name].poll() is not None or monotonic_ns() > deadline_ns:
                last = said.strip().splitlines()[-3:]
                self.stop()
                raise ResourceError(f"the virtual rack's {name} did not come up: " + " | ".join(last))
            sleep_until(monotonic_ns() + _POLL_NS)

    def _begin(self, name: str, up: str, *command: str) -> None:
        """Start one of our programs; its log will say ``up``."""
        config = self.folder / "rack.toml"
        config.write_text(_rack_toml(self.folder, self.database, self.identities.aggregator))
        words = [sys.executable, "-m", "touchline.cli", *command, "--config", str(config)]
        with (self.folder / f"{name}.log").open("wb") as log:
            self._programs[name] = subprocess.Popen(
                [*_dies_with_us(), *inside(self.namespace), *words],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._awaited[name] = up

    def _stop(self, *names: str) -> None:
        """SIGTERM to all of them, then wait for each."""
        ending = [process for name in names if (process := self._programs.pop(name, None)) is not None]
        for name in names:
            self._awaited.pop(name, None)
        for process in ending:
            process.terminate()
        for process in ending:
            try:
                process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def __enter__(self) -> VirtualRack:
        try:
            self.start()
        except BaseException:  # also Ctrl-C: what has started is ended, then the reason goes on
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def check(self) -> None:
        """Raise when one of them ended by itself."""
        if self.broker.pid is None:
            raise ResourceError("the virtual rack's broker ended", hint=self.broker.log_tail())
        for name, process in self._programs.items():
            if process.poll() is not None:
                raise ResourceError(f"the virtual rack's {name} ended", hint=f"see {self.folder / f'{name}.log'}")

    def starts(self, node: str) -> list[Start]:
        """What is stored of a node, in the order in which its starts were first heard."""
        return starts_of(self.database, node)

    def audit(self) -> Audit:
        """Search the store for records and camera frames that are there twice."""
        return audit(self.database)

    def records(self, node: str) -> int:
        """Records stored of a node."""
        return sum(start.records for start in self.starts(node))


def _dies_with_us() -> list[str]:
    """Words before a command that end it when the thread that started it dies; without setpriv there are none."""
    setpriv = shutil.which("setpriv")
    return [] if setpriv is None else [setpriv, "--pdeathsig", "TERM"]


def starts_of(database: Path, node: str) -> list[Start]:
    """The same from the database alone; empty while there is none."""
    if not database.exists():
        return []
    query = (
        "SELECT hex(boot_id), COUNT(*), MIN(number), MAX(number) FROM records"
        " JOIN batches ON batches.id = records.batch JOIN sources ON sources.id = batches.source"
        " WHERE node = ? GROUP BY sources.id ORDER BY sources.id"
    )
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=10.0)) as store:
        return [Start(boot_id.lower(), *numbers) for boot_id, *numbers in store.execute(query, (node,))]


def _rack_toml(folder: Path, database: Path, identity: Identity) -> str:
    mqtt = {
        "host": RACK_ADDRESS,
        "port": BROKER_PORT,
        "ca_file": str(identity.ca_file.resolve()),
        "cert_file": str(identity.cert_file.resolve()),
        "key_file": str(identity.key_file.resolve()),
        "client_id": "touchline-rack",
    }
    tables: dict[str, dict[str, Any]] = {
        "mqtt": mqtt,
        "store": {"path": str(database.resolve())},
        "web": {"port": PAGE_PORT},
        "witness": {
            "bind": f"{RACK_ADDRESS}:{WITNESS_PORT}",
            "state_file": str((folder / "epochs").resolve()),
            "run_dir": str((folder / "witness").resolve()),
            "lease_limit_ms": 700.0,  # emulated nodes are late by more than a node's lease allows
        },
    }
    blocks = [
        "\n".join([f"[{table}]", *(f"{key} = {json.dumps(value)}" for key, value in rows.items())])
        for table, rows in tables.items()
    ]
    return "\n\n".join(blocks) + "\n"


def main(folder: Path, namespace: str) -> None:
    """Hold a rack until told to end; the file ``up`` appears in the folder once it serves."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # unwinds wherever it is, as Ctrl-C does
    with suppress(KeyboardInterrupt), VirtualRack(folder, namespace, RackIdentities.kept_in(folder / "pki")) as rack:
        (folder / UP_MARK).touch()
        while True:
            rack.check()
            sleep_until(monotonic_ns() + _LOOK_NS)


if __name__ == "__main__":
    sys.exit(guarded(lambda: main(Path(sys.argv[1]), sys.argv[2])))
