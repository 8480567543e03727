"""The hardware of a virtual node from outside: one small handle for each device, units in names."""

from hil.virtual.devices.attach import Devices, attach, power_on

__all__ = ["Devices", "attach", "power_on"]
