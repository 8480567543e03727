"""The fan made safe when nobody controls it: full speed, then the vendor's daemon where this machine has one.

``python -m thermal.safe`` is what systemd runs after the service, however that ended (``ExecStopPost``). It imports
nothing but the standard library, needs no configuration, does what it can with half the tree missing, and starts in
the time that Python takes. Full speed comes first and in any case: the daemon may fail to start.

``pwm1_enable`` = 0 is off, and a ``pwm1`` written then is lost: so duty, enable, duty again.
Exit status: 0 when the fan is at full speed or there is none, 1 when it cannot be driven.

Full speed does not stay by itself: where a zone's trip has the fan as its cooling device, the kernel's step_wise
governor takes it down as the zone cools, to the lowest level, which may be off. So ``--hold``, run while the service is
given up, looks every second and writes again, until the vendor's daemon has the fan.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
from collections.abc import Sequence

HWMON = "sys/class/hwmon"
FAN = "pwmfan"
FULL = "255"
VENDOR_UNIT = "nvfancontrol.service"
TURN_S = 1.0
_WAIT_S = 5.0


def fans(root: str) -> list[str]:
    """Folders of all hwmon devices with the fan's name."""
    folder = os.path.join(root, HWMON)  # noqa: PTH118 - pathlib would double the start-up time
    try:
        names = sorted(os.listdir(folder))  # noqa: PTH208
    except OSError:
        return []
    return [path for path in (f"{folder}/{name}" for name in names) if _read(f"{path}/name").lower() == FAN]


def full_speed(folder: str) -> bool:
    """Drive one fan at full speed; True when it reads so."""
    _write(f"{folder}/pwm1", FULL)
    switch = f"{folder}/pwm1_enable"  # Linux 6.1 and later
    if os.path.exists(switch) and _read(switch) != "1":  # noqa: PTH110
        _write(switch, "1")
        _write(f"{folder}/pwm1", FULL)
    return at_full(folder)


def at_full(folder: str) -> bool:
    """Whether one fan is on and at full speed."""
    switch = f"{folder}/pwm1_enable"
    return _read(f"{folder}/pwm1") == FULL and (not os.path.exists(switch) or _read(switch) == "1")  # noqa: PTH110


def keep(root: str) -> bool:
    """One turn of the hold: full speed again where somebody took it; False when that was the vendor's daemon."""
    low = [folder for folder in fans(root) if not at_full(folder)]
    if low and _systemctl("--quiet", "is-active"):
        return False
    for folder in low:
        full_speed(folder)
    return True


def vendor_back() -> bool:
    """Ask for the vendor's daemon where it is installed and enabled; not waited for, see thermal.vendor."""
    return _systemctl("--quiet", "is-enabled") and _systemctl("start", "--no-block")


def main(arguments: Sequence[str]) -> int:
    """``[--hold] [--sysfs-root FOLDER]``."""
    root = arguments[-1] if "--sysfs-root" in arguments[:-1] else "/"
    if "--hold" in arguments:
        while keep(root):
            select.select((), (), (), TURN_S)
        print(f"touchline safe: {VENDOR_UNIT} has the fan", file=sys.stderr)  # noqa: T201
        return 0
    found = fans(root)
    driven = [full_speed(folder) for folder in found]
    back = vendor_back()
    said = "no fan found" if not driven else "fan at full speed" if all(driven) else "fan NOT DRIVEN"
    print(f"touchline safe: {said}{', ' + VENDOR_UNIT + ' asked to take over' if back else ''}", file=sys.stderr)  # noqa: T201
    return 0 if all(driven) else 1


def _read(path: str) -> str:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return os.read(descriptor, 64).decode("ascii", "replace").strip()
        finally:
            os.close(descriptor)
    except OSError:
        return ""


def _write(path: str, value: str) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC)
        try:
            os.write(descriptor, f"{value}\n".encode())
        finally:
            os.close(descriptor)
    except OSError as error:
        print(f"touchline safe: {path}: {error.strerror}", file=sys.stderr)  # noqa: T201


def _systemctl(*words: str) -> bool:
    """Run it with the vendor's unit; False for the answer no, for a machine without systemd, and for one that hangs."""
    try:
        return subprocess.run(["systemctl", *words, VENDOR_UNIT], timeout=_WAIT_S, check=False).returncode == 0
    except (OSError, subprocess.SubprocessError):
        return False


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
