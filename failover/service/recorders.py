"""What the node's recorders are known to do: for the takeover's report, for the status, and for trouble. Pure.

Records matter more than their pictures, so nothing here decides who is active: a node whose recorder has ended takes
over all the same, and says so. Both nodes record all along, and a join takes each picture from whoever has it.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable, Sequence
from typing import Any, Final

from failover.actions.sequence import Outcome
from failover.core.types import NS_PER_MS, Changed, Note, Role
from failover.link_words import RecorderWord

SILENT_NS: Final = 3_000 * NS_PER_MS  # a recorder speaks ten times a second; ending an encoder may take two seconds
STILL_NS: Final = 5_000 * NS_PER_MS  # a recorder that records without a picture for so long
START_NS: Final = 20_000 * NS_PER_MS  # after the agent's: encoders are tried out before a recorder's first word


class Recorders:
    """One node's. ``cameras``: those that are to be recorded."""

    def __init__(self, cameras: Sequence[int]) -> None:
        self._cameras = tuple(cameras)
        self._words: dict[int, tuple[RecorderWord, int]] = {}  # the newest word, and when it came
        self._there: frozenset[int] = frozenset()
        self._agent_ns: int | None = None  # since when the agent is there
        self._were_there: frozenset[int] = frozenset()  # of the present agent
        self.trouble = ""  # why the recording is not what it should be, in words

    def look(self, words: Iterable[RecorderWord], there: Iterable[int], agent: bool, now_ns: int) -> Note | None:
        """All of it at once, for a loop; an event when there is trouble, and when there is none any more."""
        self.hear(words, there, now_ns)
        self.agent(agent, now_ns)
        before, self.trouble = self.trouble, "; ".join(self.troubles(now_ns))
        if self.trouble == before:
            return None
        return (
            Note("warning", "recorder", self.trouble) if self.trouble else Note("info", "recorder", "recording again")
        )

    def hear(self, words: Iterable[RecorderWord], there: Iterable[int], now_ns: int) -> None:
        """What came, and whose recorders are connected now."""
        for word in words:
            self._words[word.camera] = word, now_ns
        self._there = frozenset(there)
        self._were_there |= self._there

    def agent(self, there: bool, now_ns: int) -> None:
        """Whether the agent is there; while it is not, nobody can expect its recorders."""
        if there != (self._agent_ns is not None):
            self._agent_ns = now_ns if there else None
            self._were_there = self._there

    def outcome(self, change: Changed, begun_ns: int, now_ns: int) -> Outcome:
        """How far all of them are with a change of role that began at ``begun_ns``."""
        found = [self._outcome(camera, change, begun_ns, now_ns) for camera in self._cameras]
        text = "; ".join(f"camera {camera}: {one.text}" for camera, one in zip(self._cameras, found, strict=True))
        if any(one.code is None for one in found):
            return Outcome(now_ns, None, text)
        at_ns = max((one.at_ns for one in found), default=begun_ns)
        return Outcome(at_ns, next((one.code for one in found if one.code), 0), text)

    def troubles(self, now_ns: int) -> tuple[str, ...]:
        """Why the recording is not what it should be, in words; nothing while the agent is away or starting."""
        if self._agent_ns is None:
            return ()
        found = []
        for camera in self._cameras:
            why = self._trouble(camera, now_ns)
            if why:
                found.append(f"recorder of camera {camera}: {why}")
        return tuple(found)

    def document(self, now_ns: int) -> list[dict[str, Any]]:
        """For the status, a table a camera; times in ms, None where there is nothing to say."""
        return [self._document(camera, now_ns) for camera in self._cameras]

    def _word(self, camera: int) -> RecorderWord | None:
        return self._words[camera][0] if camera in self._there and camera in self._words else None

    def _silent_ns(self, camera: int, now_ns: int) -> int:
        return now_ns - self._words[camera][1]

    def _outcome(self, camera: int, change: Changed, begun_ns: int, now_ns: int) -> Outcome:
        word = self._word(camera)
        if word is None:
            return Outcome(now_ns, errno.ENOTCONN, "its recorder is not running")
        silent_ns = self._silent_ns(camera, now_ns)
        if silent_ns > SILENT_NS:
            return Outcome(now_ns, errno.ETIMEDOUT, f"its recorder hangs: silent for {silent_ns / 1e9:.1f} s")
        if word.role is not change.role or (change.role is Role.ACTIVE and word.epoch < change.epoch):
            return Outcome(now_ns, None, f"its recorder has not heard of it (it is {word.role.value}, {word.state})")
        if change.role is Role.STANDBY:
            return Outcome(max(begun_ns, word.told_ns), 0, word.state)
        return _written(word, begun_ns, now_ns)

    def _trouble(self, camera: int, now_ns: int) -> str:
        word = self._word(camera)
        if word is None:
            assert self._agent_ns is not None
            started = camera in self._were_there or now_ns - self._agent_ns > START_NS
            return "not running" if started else ""
        if self._silent_ns(camera, now_ns) > SILENT_NS:
            return "hangs"
        if word.state in ("waiting", "disk"):
            words = {"waiting": "no encoder runs", "disk": "nothing is written"}[word.state]
            return f"{words}: {word.trouble}" if word.trouble else words
        still = word.state == "recording" and now_ns - word.last_ns > STILL_NS
        return "no picture comes" if still else ""

    def _document(self, camera: int, now_ns: int) -> dict[str, Any]:
        word = self._word(camera)
        if word is None:
            return {"camera": camera, "state": "not running"}
        return {
            "camera": camera,
            "state": word.state,
            "role": word.role.value,
            "epoch": word.epoch,
            "last_ptp_ns": word.last_ptp_ns or None,
            "last_ms_ago": _ms(now_ns - word.last_ns) if word.last_ns else None,
            "twin_ptp_ns": word.twin_ptp_ns or None,
            "heard_ms_ago": _ms(self._silent_ns(camera, now_ns)),
            "trouble": word.trouble,
        }


def _written(word: RecorderWord, begun_ns: int, now_ns: int) -> Outcome:
    """Whether a recorder that knows that it is the active one's writes."""
    if word.state == "disk":
        return Outcome(now_ns, errno.EIO, f"nothing is written: {word.trouble or 'its disk does not take it'}")
    if not word.first_ns or word.last_ns < begun_ns:
        return Outcome(now_ns, None, f"no picture under the new role yet ({word.state}) {word.trouble}".rstrip())
    text = f"writes PTP {word.first_ptp_ns}, "
    step_ms = (word.first_ptp_ns - word.before_ptp_ns) / NS_PER_MS
    text += f"{step_ms:.3f} ms after the picture before" if word.before_ptp_ns else "its first picture"
    return Outcome(word.first_ns if word.first_ns >= begun_ns else word.last_ns, 0, text)


def _ms(ns: int) -> float:
    return round(ns / NS_PER_MS, 3)
