"""What the same thing is called on JetPack 5, 6, 7 and in the virtual node. Data; matched without regard to case.

Sources: JetPack 5 (L4T 35.x, kernel 5.10 of NVIDIA), JetPack 6 (36.x, 5.15 with NVIDIA's modules), JetPack 7 (38.x and
39.x, 6.8; Thor's own zone and GPU names in the last rows), ``hil/virtual/devices/README.md``. A name that a release
does not have is "". What is there is found by any of its names, so a release that mixes them works too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

RELEASES: Final = ("jetpack5", "jetpack6", "jetpack7", "virtual")


@dataclass(frozen=True, slots=True)
class Row:
    """One thing by our name, and what each release calls it."""

    ours: str
    jetpack5: str
    jetpack6: str
    jetpack7: str
    virtual: str = ""

    @property
    def names(self) -> frozenset[str]:
        """All spellings, in lower case."""
        return frozenset(name.lower() for name in (self.jetpack5, self.jetpack6, self.jetpack7, self.virtual) if name)


ZONES: Final = (
    Row("tj", "tj-therm", "tj-thermal", "tj-thermal", "tj-thermal"),
    Row("cpu", "CPU-therm", "cpu-thermal", "cpu-thermal", "cpu-thermal"),
    Row("gpu", "GPU-therm", "gpu-thermal", "gpu-thermal", "gpu-thermal"),
    Row("soc0", "SOC0-therm", "soc0-thermal", "soc0-thermal", "soc0-thermal"),
    Row("soc1", "SOC1-therm", "soc1-thermal", "soc1-thermal"),
    Row("soc2", "SOC2-therm", "soc2-thermal", "soc2-thermal"),
    Row("cv0", "CV0-therm", "cv0-thermal", "cv0-thermal"),
    Row("cv1", "CV1-therm", "cv1-thermal", "cv1-thermal"),
    Row("cv2", "CV2-therm", "cv2-thermal", "cv2-thermal"),
    Row("soc012", "", "", "soc012-thermal"),
    Row("soc345", "", "", "soc345-thermal"),
)
BOARD_ZONE: Final = Row("board", "Tboard_tegra", "tboard-thermal", "tboard-thermal")  # the air's nearest, if there
FAN: Final = Row("fan", "pwmfan", "pwmfan", "pwmfan", "pwmfan")  # hwmon with pwm1, and pwm1_enable since Linux 6.1
TACHOMETER: Final = Row("tachometer", "pwm_tach", "pwm_tach", "pwm_tach", "pwm_tach")
RAILS: Final = Row("rails", "ina3221", "ina3221", "ina3221", "ina3221")
OVER_CURRENT: Final = Row("over-current", "soctherm_oc", "soctherm_oc", "soctherm_oc")

GPU: Final = (  # devfreq devices; Thor has one for each of two clocks
    Row("gpu", "17000000.ga10b", "17000000.gpu", "17000000.gpu"),
    Row("gpu-gpc", "", "", "gpu-gpc-0"),
    Row("gpu-nvd", "", "", "gpu-nvd-0"),
)

PWM_FULL: Final = 255
TACHOMETER_FILES: Final = ("rpm", "fan1_input")  # NVIDIA's driver, then mainline's
COUNTER_FILES: Final = ("event_cnt", "irq_cnt")  # oc1_event_cnt; oc1_irq_cnt before Orin
COUNTERS: Final = {"oc1": "undervoltage", "oc2": "average current", "oc3": "instantaneous current"}  # AGX Orin
RAIL_CHANNELS: Final = (1, 2, 3)  # in7 and curr4 are sums of channels
NO_RAIL: Final = frozenset({"", "nc", "sum of shunt voltages"})  # labels of channels that measure nothing of their own

THERMAL_FOLDER: Final = "/sys/class/thermal"
HWMON_FOLDER: Final = "/sys/class/hwmon"
DEVFREQ_FOLDER: Final = "/sys/class/devfreq"
CPUFREQ_FOLDER: Final = "/sys/devices/system/cpu/cpufreq"
VENDOR_UNIT: Final = "nvfancontrol.service"
