"""What can go wrong between us and ptp4l, one class per cause."""

from __future__ import annotations

from typing import ClassVar, Final

from agent.clock.management.values import ErrorCode, number_text
from touchline.errors import InputError, LinkError


class WireError(InputError):
    """Bytes that are no management message, or no data set of the kind asked for (exit 4)."""

    def __init__(self, message: str, *, hint: str = "no ptp4l sends this: see what listens at its socket") -> None:
        super().__init__(message, hint=hint)


class Unreachable(LinkError):
    """There is no ptp4l at the socket, it went away, or we may not talk to it. The client stays usable (exit 6)."""


class NoAnswer(LinkError):
    """ptp4l took the question and did not answer in time. The client stays usable (exit 6)."""


class Refused(LinkError):
    """ptp4l answered with MANAGEMENT_ERROR_STATUS (exit 6).

    ``code``: the error as ptp4l sent it, a plain number where IEEE 1588 does not name it. ``management_id``: of what.
    """

    what_to_do: ClassVar[str] = "see ptp4l's log"

    def __init__(self, asked: str, code: ErrorCode | int, management_id: int, text: str = "") -> None:
        said = f"{number_text(code)} ({text})" if text else number_text(code)
        super().__init__(f"ptp4l refuses {asked}: {said}", hint=self.what_to_do)
        self.code = code
        self.management_id = management_id


class NotSupported(Refused):
    """ptp4l knows the data set and does not give it here, or answers with nothing: its read-only socket does so."""

    what_to_do = "ask through ptp4l's writable socket (uds_address)"


class NoSuchId(NotSupported):
    """This ptp4l has never heard of the data set."""

    what_to_do = "it came with a later linuxptp than this one; do without it"


class WrongValue(Refused):
    """A value out of range; on reading: no port of that number."""

    what_to_do = "ask for a port that exists: DEFAULT_DATA_SET counts them, the first is 1"


class WrongLength(Refused):
    """ptp4l expects a data set of another length."""

    what_to_do = "this linuxptp uses a layout that this program does not know"


class NotSetable(Refused):
    """The data set can only be read."""


class ResponseTooBig(Refused):
    """The answer does not fit a message."""


class GeneralError(Refused):
    """None of the named errors."""


_CLASSES: Final[dict[int, type[Refused]]] = {
    ErrorCode.RESPONSE_TOO_BIG: ResponseTooBig,
    ErrorCode.NO_SUCH_ID: NoSuchId,
    ErrorCode.WRONG_LENGTH: WrongLength,
    ErrorCode.WRONG_VALUE: WrongValue,
    ErrorCode.NOT_SETABLE: NotSetable,
    ErrorCode.NOT_SUPPORTED: NotSupported,
    ErrorCode.GENERAL_ERROR: GeneralError,
}


def refused(asked: str, code: ErrorCode | int, management_id: int, text: str = "") -> Refused:
    """Return the error of a status code; :class:`Refused` itself for codes that have no name."""
    return _CLASSES.get(int(code), Refused)(asked, code, management_id, text)
