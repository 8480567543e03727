"""A state in the making during one step: the parts are frozen and replaced, what is to be done is gathered."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from failover.core.state import Attention, Hold, Me, State, Talk, Twin, Witness
from failover.core.types import Action, CameraCursor, Note, Settings


@dataclass(slots=True)
class Draft:
    """Lives for one step. ``first``: gate and exclusive things, which are done before ``then``."""

    settings: Settings
    attention: Attention
    me: Me
    hold: Hold
    twin: Twin
    witness: Witness
    talk: Talk
    covered: tuple[CameraCursor, ...]
    now_ns: int
    granted: bool = False  # a grant came in this step: gate and exclusive things are prolonged
    first: list[Action] = field(default_factory=list)
    then: list[Action] = field(default_factory=list)

    @classmethod
    def of(cls, state: State, now_ns: int) -> Draft:
        """Begin a step."""
        return cls(
            state.settings,
            state.attention,
            state.me,
            state.hold,
            state.twin,
            state.witness,
            state.talk,
            state.covered,
            now_ns,
        )

    def note(self, severity: Literal["info", "warning", "error"], code: str, text: str) -> None:
        """Add an event for people."""
        self.then.append(Note(severity, code, text))

    def freeze(self) -> State:
        """Return what the step made."""
        return State(
            self.settings, self.attention, self.me, self.hold, self.twin, self.witness, self.talk, self.covered
        )
