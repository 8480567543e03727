"""What the node's recorders are known to do: for the takeover's report, for the status, and for trouble. Pure.

Records matter more than their pictures, so nothing here decides who is active: a node whose recorder has ended takes
over all the same, and says so. Both nodes record all along, and a join takes each picture from whoever has it. So it is
with a disk that is kept closed (PRT-2) too: the pictures still go to the twin's disk, and a switch would bring nothing.
"""

from __future__ import annotations

import errno
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from failover.actions.sequence import Outcome
from failover.core.types import NS_PER_MS, Changed, Note, Role
from failover.link_words import RecorderWord

SILENT_NS: Final = 3_000 * NS_PER_MS  # a recorder speaks ten times a second; ending an encoder may take two seconds
STILL_NS: Final = 5_000 * NS_PER_MS  # a recorder that records without a picture for so long
UNSETTLED_NS: Final = 10_000 * NS_PER_MS  # starting, standing or of another role so long: an encoder is primed in 5 s
START_NS: Final = 20_000 * NS_PER_MS  # after the agent's: encoders are tried out before a recorder's first word
_IN_TROUBLE: Final = {"waiting": "no encoder runs", "disk": "nothing is written"}


class Recorders:
    """One node's. ``cameras``: those that are to be recorded."""

    def __init__(self, cameras: Sequence[int]) -> None:
        self._cameras = tuple(cameras)
        self._words: dict[int, tuple[RecorderWord, int]] = {}  # the newest word, and when it came
        self._there: frozenset[int] = frozenset()
        self._agent_ns: int | None = None  # since when the agent is there
        self._were_there: frozenset[int] = frozenset()  # of the present agent
        self._settled_ns: dict[int, int] = {}  # when each was last more than on its way, or first heard
        self._kinds: dict[int, str] = {}  # the present trouble of each, without its details
        self.counts: Counter[int] = Counter()  # how often each began to be in trouble
        self.trouble = ""  # why the recording is not what it should be, in words

    def look(
        self, words: Iterable[RecorderWord], there: Iterable[int], agent: bool, role: Role, now_ns: int
    ) -> Note | None:
        """All of it at once, for a loop; an event when there is another trouble, and when there is none any more.

        ``agent``: whether it is there. ``role``: this node's. Another detail of the same trouble is no event.
        """
        self.hear(words, there, now_ns)
        self.agent(agent, now_ns)
        found = self._troubles(role, now_ns)
        before, self._kinds = self._kinds, {camera: kind for camera, (kind, _) in found.items()}
        self.counts.update(self._kinds.keys() - before.keys())
        self.trouble = "; ".join(_words(found))
        if self._kinds == before:
            return None
        if self.trouble:
            return Note("warning", "recorder", self.trouble)
        return Note("info", "recorder", "recording again" if agent else "the agent is away, and its recorders with it")

    def hear(self, words: Iterable[RecorderWord], there: Iterable[int], now_ns: int) -> None:
        """What came, and whose recorders are connected now."""
        for word in words:
            self._words[word.camera] = word, now_ns
            self._settled_ns.setdefault(word.camera, now_ns)
        self._there = frozenset(there)
        self._were_there |= self._there

    def agent(self, there: bool, now_ns: int) -> None:
        """Whether the agent is there; while it is not, nobody can expect its recorders."""
        if there != (self._agent_ns is not None):
            self._agent_ns = now_ns if there else None
            self._were_there = self._there
            self._settled_ns.clear()

    def outcome(self, change: Changed, begun_ns: int, now_ns: int) -> Outcome:
        """How far all of them are with a change of role that began at ``begun_ns``."""
        found = [self._outcome(camera, change, begun_ns, now_ns) for camera in self._cameras]
        text = "; ".join(f"camera {camera}: {one.text}" for camera, one in zip(self._cameras, found, strict=True))
        if any(one.code is None for one in found):
            return Outcome(now_ns, None, text)
        at_ns = max((one.at_ns for one in found), default=begun_ns)
        return Outcome(at_ns, next((one.code for one in found if one.code), 0), text)

    def troubles(self, role: Role, now_ns: int) -> tuple[str, ...]:
        """Why the recording is not what it should be, in words; nothing while the agent is away or starting."""
        return _words(self._troubles(role, now_ns))

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

    def _troubles(self, role: Role, now_ns: int) -> dict[int, tuple[str, str]]:
        """The kind of each camera's trouble, and its details."""
        if self._agent_ns is None:
            return {}
        found = {camera: self._trouble(camera, role, now_ns) for camera in self._cameras}
        return {camera: (kind, detail) for camera, (kind, detail) in found.items() if kind}

    def _trouble(self, camera: int, role: Role, now_ns: int) -> tuple[str, str]:
        word = self._word(camera)
        if word is None:
            assert self._agent_ns is not None
            started = camera in self._were_there or now_ns - self._agent_ns > START_NS
            return "not running" if started else "", ""
        kind = self._plain_trouble(word, now_ns)
        why = "" if kind else _unsettled(word, role)
        if not why:
            self._settled_ns[camera] = now_ns
            return kind, word.trouble
        late = now_ns - self._settled_ns.get(camera, now_ns) > UNSETTLED_NS
        return why if late else self._kinds.get(camera, ""), word.trouble  # who begins anew is not well yet

    def _plain_trouble(self, word: RecorderWord, now_ns: int) -> str:
        if self._silent_ns(word.camera, now_ns) > SILENT_NS:
            return "hangs"
        if word.state == "recording" and now_ns - word.last_ns > STILL_NS:
            return "no picture comes"
        return _IN_TROUBLE.get(word.state, "")

    def _document(self, camera: int, now_ns: int) -> dict[str, Any]:
        word = self._word(camera)
        if word is None:
            return {"camera": camera, "state": "not running", "troubles": self.counts[camera]}
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
            "troubles": self.counts[camera],
        }


def _unsettled(word: RecorderWord, role: Role) -> str:
    """What is well for a while and not for long; a standby may stand still as long as it likes."""
    if word.role is not role:
        return f"has not heard that this node is {role.value}"
    if word.state == "starting":
        return "does not get beyond its start"
    return "stands still on the active node" if word.state == "standing" and role is Role.ACTIVE else ""


def _words(found: Mapping[int, tuple[str, str]]) -> tuple[str, ...]:
    return tuple(
        f"recorder of camera {camera}: {kind}" + (f": {detail}" if detail else "")
        for camera, (kind, detail) in found.items()
    )


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
