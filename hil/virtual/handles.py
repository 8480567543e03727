"""The device handles of a node, as attributes of the node."""

from __future__ import annotations

from abc import ABC, abstractmethod

from hil.virtual.devices import Devices
from hil.virtual.devices.camera import Camera
from hil.virtual.devices.fan import Fan
from hil.virtual.devices.gpio import Gpio
from hil.virtual.devices.imu import Imu
from hil.virtual.devices.net import Net
from hil.virtual.devices.ptp import Ptp
from hil.virtual.devices.rails import Rails
from hil.virtual.devices.thermal import Thermal
from hil.virtual.devices.uart import Uart
from hil.virtual.devices.usb import Usb
from hil.virtual.devices.watchdog import Watchdog


class Handles(ABC):
    """``node.thermal`` and its like. They belong to one power-on: after a boot or a reset ask the node again."""

    @property
    @abstractmethod
    def devices(self) -> Devices:
        """Every handle of this power-on."""

    def camera(self, index: int) -> Camera:
        """The camera of this index, 0 or 1."""
        return self.devices.camera(index)

    @property
    def thermal(self) -> Thermal:
        """Temperatures of the zones."""
        return self.devices.thermal

    @property
    def fan(self) -> Fan:
        """The fan: duty as driven, speed as shown."""
        return self.devices.fan

    @property
    def cameras(self) -> tuple[Camera, ...]:
        """Both cameras."""
        return self.devices.cameras

    @property
    def ptp(self) -> Ptp:
        """The PTP hardware clock and its link."""
        return self.devices.ptp

    @property
    def gpio(self) -> Gpio:
        """Lines by name."""
        return self.devices.gpio

    @property
    def uart(self) -> Uart:
        """The host's end of the serial line."""
        return self.devices.uart

    @property
    def net(self) -> Net:
        """The network card's faults."""
        return self.devices.net

    @property
    def watchdog(self) -> Watchdog:
        """The hardware watchdog."""
        return self.devices.watchdog

    @property
    def usb(self) -> Usb:
        """What is plugged into the USB port."""
        return self.devices.usb

    @property
    def rails(self) -> Rails:
        """The power rails."""
        return self.devices.rails

    @property
    def imu(self) -> Imu:
        """The accelerometer."""
        return self.devices.imu
