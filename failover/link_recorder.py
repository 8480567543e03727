"""The service's end of its recorders' connections: one a camera, the newest of a camera counts.

``node.run_dir/failover-recorder.sock`` (mode 0660): the service listens, each recorder connects and comes back by
itself (:class:`failover.link.ServicePort`). Recorders speak, nobody answers: their role comes through the agent.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Final

from failover.core.types import MAX_CAMERAS
from failover.link_ends import End, Listener
from failover.link_words import LinkFormatError, RecorderWord, read_recorder, recorder_message

__all__ = ["RecorderPort", "RecorderWord", "recorder_message", "recorder_socket_path"]

SOCKET_NAME: Final = "failover-recorder.sock"
MAX_ENDS: Final = 2 * MAX_CAMERAS  # a camera's new recorder may come before its old one is seen to be gone
_LOG: Final = logging.getLogger("failover.link")


def recorder_socket_path(run_dir: Path) -> Path:
    """Where the service of a node with this ``node.run_dir`` listens for recorders."""
    return run_dir / SOCKET_NAME


class RecorderPort:
    """See the module.

    Raises:
        ResourceError: the socket cannot be made, or another service listens there.
    """

    def __init__(self, path: Path) -> None:
        self._listener = Listener(path)
        self._ends: list[End] = []  # oldest first
        self._camera: dict[End, int] = {}  # those that have said which
        self.refused = 0  # messages that were none, and connections too many

    def filenos(self) -> list[int]:
        """What to wait for; it changes when a recorder comes or goes."""
        return [self._listener.fileno(), *(end.socket.fileno() for end in self._ends)]

    @property
    def cameras(self) -> set[int]:
        """Whose recorders are connected and have spoken."""
        return set(self._camera.values())

    def receive(self) -> list[RecorderWord]:
        """What they said since the last call, in the order of each one's own."""
        while (fresh := self._listener.accept()) is not None:
            if len(self._ends) >= MAX_ENDS:
                mute = (end for end in self._ends if end not in self._camera)
                self._drop(next(mute, self._ends[0]), "too many are connected")
                self.refused += 1
            self._ends.append(fresh)
        heard: list[RecorderWord] = []
        for end in list(self._ends):
            heard += self._hear(end)
        return heard

    def close(self) -> None:
        """Hang up on everybody and take the socket away."""
        for end in self._ends:
            end.close()
        self._ends.clear()
        self._camera.clear()
        self._listener.close()

    def _hear(self, end: End) -> list[RecorderWord]:
        heard: list[RecorderWord] = []
        try:
            heard += [read_recorder(data) for data in end.receive()]
        except LinkFormatError as error:
            self.refused += 1
            self._drop(end, f"it does not speak as it should ({error.message})")
            return []
        if heard:
            self._name(end, heard[-1].camera)
        if end.gone and end in self._ends:
            self._drop(end, "it is gone")
        return heard

    def _name(self, end: End, camera: int) -> None:
        for other, whose in list(self._camera.items()):
            if whose == camera and other is not end:
                self._drop(other, "another recorder of its camera came")
        self._camera[end] = camera

    def _drop(self, end: End, why: str) -> None:
        camera = self._camera.pop(end, None)
        _LOG.warning("recorder%s: %s", "" if camera is None else f" of camera {camera}", why)
        self._ends.remove(end)
        end.close()
