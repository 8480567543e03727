"""A node's /sys in memory: devices with their habits and faults. Served as :class:`thermal.sysfs.files.Files`, or
mounted for a real process by :mod:`tests.thermal.fuse`.

The fan behaves as pwm-fan does: ``pwm1_enable`` 0 is off, and a ``pwm1`` written then is accepted and lost.
"""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from tests.thermal.fuse import Hang

ZONES_JP6 = ("cpu-thermal", "gpu-thermal", "cv0-thermal", "soc0-thermal", "soc1-thermal", "soc2-thermal", "tj-thermal")
ZONES_JP5 = ("CPU-therm", "GPU-therm", "CV0-therm", "SOC0-therm", "SOC1-therm", "tj-therm")
ZONES_VIRTUAL = ("cpu-thermal", "gpu-thermal", "soc0-thermal", "tj-thermal")
RAILS = (("VDD_GPU_SOC", 19000, 800), ("VDD_CPU_CV", 19000, 500), ("VIN_SYS_5V0", 5000, 900))
FULL_RPM = 2900.0
HWMON, THERMAL = "/sys/class/hwmon", "/sys/class/thermal"
CPUFREQ, DEVFREQ = "/sys/devices/system/cpu/cpufreq", "/sys/class/devfreq"
CPU_KHZ, GPU_HZ = 2_201_600, 1_300_500_000


@dataclass
class File:
    """One attribute. ``show`` and ``store`` override the text; ``*_errno`` come first of all."""

    text: str = ""
    show: Callable[[], str] | None = None
    store: Callable[[str], None] | None = None
    read_errno: int = 0
    write_errno: int = 0
    hangs: bool = False
    writes: list[str] = field(default_factory=list)


@dataclass
class FakeFan:
    """What the PWM chip does with what is written, and the rotor, which has no inertia here."""

    pwm: int = 76
    enable: int = 2
    stalled: bool = False
    foreign: int | None = None  # somebody else writes this after each of our writes

    @property
    def duty(self) -> int:
        """0..255 as the motor gets it."""
        return 0 if self.enable == 0 else self.pwm

    @property
    def rpm(self) -> int:
        return 0 if self.stalled else round(FULL_RPM * self.duty / 255)

    def set_pwm(self, text: str) -> None:
        value = int(text)
        if not 0 <= value <= 255:
            raise OSError(errno.EINVAL, "pwm1")
        if self.enable != 0:
            self.pwm = value if self.foreign is None else self.foreign

    def set_enable(self, text: str) -> None:
        value = int(text)
        if not 0 <= value <= 3:
            raise OSError(errno.EINVAL, "pwm1_enable")
        if self.enable == 0 and value:
            self.pwm = 0  # comes up with no duty of its own
        self.enable = value


class FakeTree:
    """Files by path. ``kinds`` of a release: zones' types; ``gpu``: the devfreq device's name."""

    def __init__(
        self,
        zones: Iterable[str] = ZONES_JP6,
        *,
        gpu: str = "17000000.gpu",
        rails: Iterable[tuple[str, int, int]] = RAILS,
        clocks: bool = True,
        enable: bool = True,
    ) -> None:
        self.lock = threading.RLock()
        self.files: dict[str, File] = {}
        self.fan = FakeFan()
        for number, kind in enumerate(zones):
            self._device(f"{THERMAL}/thermal_zone{number}", type=kind, temp="45000")
        self._device(f"{THERMAL}/cooling_device0", type="pwm-fan")
        self._device(f"{HWMON}/hwmon0", name="nvme", temp1_input="40000")
        self._device(f"{HWMON}/hwmon1", name="pwm_tach")
        self.files[f"{HWMON}/hwmon1/rpm"] = File(show=lambda: str(self.fan.rpm))
        self._device(f"{HWMON}/hwmon2", name="pwmfan")
        self.files[f"{HWMON}/hwmon2/pwm1"] = File(show=lambda: str(self.fan.pwm), store=self.fan.set_pwm)
        if enable:
            path = f"{HWMON}/hwmon2/pwm1_enable"
            self.files[path] = File(show=lambda: str(self.fan.enable), store=self.fan.set_enable)
        self._rails(f"{HWMON}/hwmon3", list(rails))
        self._device(f"{HWMON}/hwmon4", name="soctherm_oc", oc1_event_cnt="0", oc2_event_cnt="0", oc3_event_cnt="0")
        if clocks:
            for policy in ("policy0", "policy4"):
                self._device(f"{CPUFREQ}/{policy}", scaling_max_freq=str(CPU_KHZ), cpuinfo_max_freq=str(CPU_KHZ))
            self._device(f"{DEVFREQ}/{gpu}", max_freq=str(GPU_HZ))
            self._device(f"{DEVFREQ}/15340000.vic", max_freq="115200000")

    # --- what a test does ---------------------------------------------------------------------------------------------

    def __getitem__(self, path: str) -> File:
        return self.files[path]

    def folder(self, label: str, value: str) -> str:
        """Folder of the device whose ``label`` file reads ``value``: ``("type", "tj-thermal")``."""
        return next(
            path.rpartition("/")[0]
            for path, file in self.files.items()
            if path.endswith(f"/{label}") and file.text == value
        )

    def zone(self, kind: str) -> File:
        """The temperature of a zone."""
        return self.files[f"{self.folder('type', kind)}/temp"]

    def temps(self) -> list[File]:
        """The temperatures of all zones."""
        return [file for path, file in self.files.items() if path.startswith(THERMAL) and path.endswith("/temp")]

    def heat(self, temp_c: float) -> None:
        """All zones at a temperature, tj highest."""
        with self.lock:
            for path, file in self.files.items():
                if path.startswith(THERMAL) and path.endswith("/temp"):
                    tj = self.files[path.removesuffix("temp") + "type"].text.lower().startswith("tj")
                    file.text = str(round((temp_c if tj else temp_c - 1.5) * 1000))

    def attribute(self, device: str, name: str) -> File:
        """A file of a hwmon device, wherever that is now."""
        return self.files[f"{self.folder('name', device)}/{name}"]

    def renumber(self) -> None:
        """Every hwmon device gets another number, the fan's old one goes to another device with a pwm1 of its own."""
        with self.lock:
            moved: dict[str, File] = {}
            for path, file in self.files.items():
                number, _, rest = path.removeprefix(f"{HWMON}/hwmon").partition("/")
                moved[f"{HWMON}/hwmon{int(number) + 7}/{rest}" if path.startswith(HWMON) else path] = file
            moved[f"{HWMON}/hwmon2/name"] = File("other")
            moved[f"{HWMON}/hwmon2/pwm1"] = File("33")
            self.files.clear()
            self.files.update(moved)

    def remove(self, folder: str) -> None:
        """A device goes."""
        with self.lock:
            for path in [path for path in self.files if path.startswith(f"{folder}/")]:
                del self.files[path]

    # --- Files, and fuse.Tree --------------------------------------------------------------------------------------

    def read(self, path: str) -> bytes:
        with self.lock:
            file = self._file(path)
            if file.hangs:
                raise Hang
            if file.read_errno:
                raise OSError(file.read_errno, os.strerror(file.read_errno), path)
            return (file.show() if file.show is not None else file.text).encode() + b"\n"

    def read_all(self, path: str) -> bytes:
        return self.read(path)

    def write(self, path: str, data: str | bytes) -> None:
        with self.lock:
            file = self._file(path)
            if file.write_errno:
                raise OSError(file.write_errno, os.strerror(file.write_errno), path)
            text = (data if isinstance(data, str) else data.decode()).strip()
            file.writes.append(text)
            if file.store is not None:
                file.store(text)
            else:
                file.text = text

    def names(self, folder: str) -> list[str]:
        with self.lock:
            prefix = folder.rstrip("/") + "/"
            found = {path.removeprefix(prefix).partition("/")[0] for path in self.files if path.startswith(prefix)}
            return sorted(found, key=lambda name: (name.rstrip("0123456789"), len(name), name))

    def kind(self, path: str) -> int:
        with self.lock:
            if path in self.files:
                return stat.S_IFREG | 0o644
            if path == "/" or self.names(path):
                return stat.S_IFDIR | 0o755
            raise OSError(errno.ENOENT, os.strerror(errno.ENOENT), path)

    def target(self, path: str) -> str:
        raise OSError(errno.EINVAL, "no link", path)

    def _file(self, path: str) -> File:
        if path not in self.files:
            raise OSError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        return self.files[path]

    def _device(self, folder: str, **attributes: str) -> None:
        for name, text in attributes.items():
            self.files[f"{folder}/{name}"] = File(text)

    def _rails(self, folder: str, rails: list[tuple[str, int, int]]) -> None:
        self._device(folder, name="ina3221", in7_label="sum of shunt voltages", in7_input="12")
        for channel, (label, millivolts, milliamps) in enumerate(rails, start=1):
            rail = {f"in{channel}_label": label, f"in{channel}_input": str(millivolts)}
            self._device(folder, **rail, **{f"curr{channel}_input": str(milliamps)})
