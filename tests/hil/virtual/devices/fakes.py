"""Stand-ins for the node's ports that record what is asked of them."""

from __future__ import annotations

from typing import Any

from hil.virtual.ports import GuestResult
from touchline.errors import HardwareError


class FakeRegisters:
    """A megabyte of zeros."""

    def __init__(self) -> None:
        self.words: dict[int, int] = {}

    def read32(self, offset: int) -> int:
        return self.words.get(offset, 0)

    def write32(self, offset: int, value: int) -> None:
        assert offset % 4 == 0
        assert 0 <= offset < 0x100000
        assert 0 <= value < 2**32
        self.words[offset] = value


class FakeGuest:
    """Answers in turn (the last one for good) and keeps the commands."""

    def __init__(self, *answers: GuestResult | str) -> None:
        self.answers = [GuestResult(0, one, "") if isinstance(one, str) else one for one in answers]
        self.commands: list[str] = []

    def run(self, command: str, *, timeout_s: float = 30.0, check: bool = True) -> GuestResult:
        self.commands.append(command)
        answer = GuestResult(0, "", "")
        if self.answers:
            answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if check and answer.exit_code:
            raise HardwareError(f"exit code {answer.exit_code}: {answer.err}")
        return answer

    def read_file(self, path: str) -> bytes:
        raise AssertionError(path)

    def write_file(self, path: str, data: bytes, mode: int = 0o644) -> None:
        raise AssertionError(path)


class FakeMonitor:
    """Keeps the commands."""

    def __init__(self) -> None:
        self.commands: list[tuple[str, dict[str, Any]]] = []

    def __call__(self, command: str, **arguments: Any) -> Any:
        self.commands.append((command, arguments))
        return {}
