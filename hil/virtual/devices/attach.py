"""All handles of one running node."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from hil.virtual.devices.camera import CAMERAS, Camera
from hil.virtual.devices.fan import Fan
from hil.virtual.devices.gpio import Gpio
from hil.virtual.devices.imu import Imu
from hil.virtual.devices.net import Net
from hil.virtual.devices.ptp import Ptp
from hil.virtual.devices.rails import RAILS, Rails
from hil.virtual.devices.thermal import Thermal
from hil.virtual.devices.uart import Uart
from hil.virtual.devices.usb import Usb
from hil.virtual.devices.watchdog import Watchdog
from hil.virtual.ports import Guest, Monitor, Registers

ROOM_C = 40.0
IDLE_MW = {"VDD_GPU_SOC": 3000.0, "VDD_CPU_CV": 1500.0, "VIN_SYS_5V0": 4000.0, "VDDQ_VDD2_1V8AO": 500.0}


@dataclass(frozen=True, slots=True)
class Devices:
    """The hardware of one node, from outside."""

    thermal: Thermal
    fan: Fan
    cameras: tuple[Camera, ...]
    ptp: Ptp
    gpio: Gpio
    uart: Uart
    net: Net
    watchdog: Watchdog
    usb: Usb
    rails: Rails
    imu: Imu

    def camera(self, index: int) -> Camera:
        """The camera of this index, 0 or 1."""
        return self.cameras[index]


def attach(
    guest: Guest,
    registers: Registers,
    monitor: Monitor,
    uart_path: Path,
    *,
    event_names: Callable[[], Sequence[str]] | None = None,
    card_id: str = "nic0",
) -> Devices:
    """Handles on a node; nothing is asked of the guest and no register is changed.

    ``event_names``: names of the events that QEMU reported so far, for ``watchdog.fired()``. ``card_id``: the network
    card's id in QEMU.
    """
    return Devices(
        thermal=Thermal(guest, registers),
        fan=Fan(guest, registers),
        cameras=tuple(Camera(guest, index) for index in range(CAMERAS)),
        ptp=Ptp(guest),
        gpio=Gpio(guest),
        uart=Uart(uart_path),
        net=Net(guest, monitor, card_id=card_id),
        watchdog=Watchdog(guest, event_names),
        usb=Usb(guest),
        rails=Rails(guest, registers),
        imu=Imu(guest, registers),
    )


def power_on(devices: Devices) -> None:
    """First values of every sensor, once QEMU has started and before the drivers look: an idle node at 40 C, at rest.

    The registers are zero after a cold start (every zone would read EIO) and keep their values over a reset.
    """
    devices.thermal.set_all_c(ROOM_C)
    devices.fan.release()
    devices.fan.recover_tachometer()
    for rail in RAILS:
        devices.rails.recover(rail)
        devices.rails.set_mw(rail, IDLE_MW[rail])
    devices.imu.recover()
    devices.imu.set_g(0.0, 0.0, 1.0)
