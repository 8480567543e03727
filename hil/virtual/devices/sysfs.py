"""Reading the guest's devices by the paths that real hardware has, found by name and never by number."""

from __future__ import annotations

import shlex
from typing import Final

from hil.virtual.ports import Guest
from touchline.errors import HardwareError

_ABSENT: Final = 66  # our exit code for: no device of this name

# Shell builtins only, until the final cat: a fork costs milliseconds in an emulated guest.
_FIND: Final = """for d in {pattern}; do
read -r name < "$d/{label}" && [ "$name" = {name} ] && exec cat "$d/"{attribute}
done 2>/dev/null
exit {absent}"""


def _read(guest: Guest, pattern: str, label: str, name: str, attribute: str) -> str | None:
    command = _FIND.format(
        pattern=pattern, label=label, name=shlex.quote(name), attribute=shlex.quote(attribute), absent=_ABSENT
    )
    result = guest.run(command, check=False)
    if result.exit_code == _ABSENT:
        raise HardwareError(
            f"the node has no {pattern.removesuffix('*')} device named {name!r}",
            hint="look whether its driver is loaded: lsmod, and the kernel log of the node",
        )
    return result.out.strip() if result.exit_code == 0 else None


def zone(guest: Guest, kind: str, attribute: str = "temp") -> str | None:
    """An attribute of the thermal zone of this type; None when the read fails (EIO, EAGAIN)."""
    return _read(guest, "/sys/class/thermal/thermal_zone*", "type", kind, attribute)


def hwmon(guest: Guest, name: str, attribute: str) -> str | None:
    """An attribute of the hwmon device of this name; None when the read fails."""
    return _read(guest, "/sys/class/hwmon/hwmon*", "name", name, attribute)


def number(text: str | None) -> int | None:
    """The integer of a one-number file, None passed through."""
    return None if text is None else int(text)
