"""What a recorder says to the node's failover service: its role, and that pictures are written under it.

It hears each fragment behind the shelf (:class:`agent.record.sink.Out`), in the sink's thread, so that the first one
under a new role is told at once; the process's loop pumps the rest. The service is not waited for, nor needed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

from agent.record.fragment import Fragment, Head
from failover.core.types import Role
from failover.link import ServicePort
from failover.link_recorder import RecorderWord, recorder_message, recorder_socket_path
from touchline.timeline import monotonic_ns

AT_LEAST_NS: Final = 100_000_000  # so often it speaks, whatever happens


class Voice:
    """One recorder's. ``writes``: whether what the shelf was given last is on the disk.

    ``behind``: the twin's picture that a stopped encoder has gone on behind; 0: it encodes all along.
    """

    def __init__(self, run_dir: Path, camera: int, writes: Callable[[], bool], behind: Callable[[], int]) -> None:
        self._port = ServicePort(recorder_socket_path(run_dir))
        self._writes, self._behind = writes, behind
        self._lock = threading.Lock()
        self._word = RecorderWord(camera, Role.STANDBY, 0)
        self._said_ns = -AT_LEAST_NS
        self._due = True

    # --- what the sink's thread tells -------------------------------------------------------------------------------

    def begin(self, head: Head, init: bytes) -> None:
        """A new run of the encoder; it counts once a picture of it is written."""

    def put(self, fragment: Fragment) -> None:
        """A fragment is on the disk, unless the shelf is in trouble."""
        if not self._writes():
            return
        now_ns = monotonic_ns()
        with self._lock:
            word = self._word
            fresh = replace(word, last_ptp_ns=fragment.marks[-1].ptp_ns, last_ns=now_ns)
            role = Role.ACTIVE if fragment.active else Role.STANDBY
            if not word.first_ns and (role, fragment.epoch) == (word.role, word.epoch):
                fresh = replace(
                    fresh,
                    state="recording",
                    first_ptp_ns=fragment.marks[0].ptp_ns,
                    first_ns=now_ns,
                    before_ptp_ns=self._behind() or word.last_ptp_ns,
                )
                self._due = True
            self._word = fresh
            self._say(now_ns)

    # --- what the process's loop tells ------------------------------------------------------------------------------

    def role(self, active: bool, epoch: int) -> None:
        """The parent's word, before it is obeyed."""
        with self._lock:
            self._word = replace(
                self._word,
                role=Role.ACTIVE if active else Role.STANDBY,
                epoch=epoch,
                told_ns=monotonic_ns(),
                first_ptp_ns=0,
                first_ns=0,
                before_ptp_ns=0,
            )
            self._due = True

    def pump(self, state: str, trouble: str, twin_ptp_ns: int) -> None:
        """How it is now; said when that changed, and ten times a second."""
        now_ns = monotonic_ns()
        with self._lock:
            self._due |= (state, trouble) != (self._word.state, self._word.trouble)
            self._word = replace(self._word, state=state, trouble=trouble, twin_ptp_ns=twin_ptp_ns)
            self._due |= self._port.connect(now_ns) or now_ns - self._said_ns >= AT_LEAST_NS
            self._say(now_ns)

    def close(self) -> None:
        """Hang up: for the service this recorder is gone."""
        with self._lock:
            self._port.close()

    def _say(self, now_ns: int) -> None:
        if self._due and self._port.send(recorder_message(self._word)):
            self._due, self._said_ns = False, now_ns
