"""Errors that name the thing, say what is allowed and give the fix.

Every error that a user can meet derives from :class:`TouchlineError` and carries the exit code of its kind; the table
is part of the command line's contract (``docs/exit-codes.md``). Code that meets an impossible state raises an
ordinary exception instead: that is a bug, not a message.
"""

from __future__ import annotations

from typing import ClassVar


class TouchlineError(Exception):
    """A failure with a one-line message and, where there is one, the fix.

    Args:
        message: what is wrong, naming the file, key or device and the value found.
        hint: what to do about it, as an imperative.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} — {self.hint}" if self.hint else self.message


class ConfigError(TouchlineError):
    """A configuration or calibration file is invalid (exit 3)."""

    exit_code = 3


class InputError(TouchlineError):
    """Input data is missing, truncated, corrupt or foreign (exit 4)."""

    exit_code = 4


class ResourceError(TouchlineError):
    """The machine lacks something: memory, lock limit, disk, port, program (exit 5)."""

    exit_code = 5


class LinkError(TouchlineError):
    """A peer cannot be reached or refuses us: broker, network, certificate (exit 6)."""

    exit_code = 6


class HardwareError(TouchlineError):
    """Required hardware is missing or broken (exit 7)."""

    exit_code = 7


class GateError(TouchlineError):
    """The run finished and missed its bar (exit 8)."""

    exit_code = 8
