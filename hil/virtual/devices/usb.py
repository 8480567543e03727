"""USB devices that come and go: gadgets on the guest's own dummy_hcd, seen by its host side as real ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from hil.virtual.devices.registers import one_of
from hil.virtual.ports import Guest
from touchline.errors import HardwareError


@dataclass(frozen=True, slots=True)
class Gadget:
    """A device as it presents itself. ``function``: the configfs function that stands behind it."""

    vendor: int
    product: int
    manufacturer: str
    name: str
    function: str


@dataclass(frozen=True, slots=True)
class UsbDevice:
    """A device as the guest's USB core lists it."""

    path: str
    vendor: int
    product: int
    name: str


# APX: AGX Orin in recovery mode, a vendor-specific interface with one bulk pair: Loopback has just that.
GADGETS: Final = {
    "apx": Gadget(0x0955, 0x7023, "NVIDIA Corp.", "APX", "Loopback.0"),
    "acm": Gadget(0x0955, 0x7020, "NVIDIA", "Linux for Tegra", "acm.0"),
}

_ROOT: Final = "/sys/kernel/config/usb_gadget"
_PLUG: Final = """set -e
modprobe -a dummy_hcd libcomposite
mountpoint -q /sys/kernel/config || mount -t configfs none /sys/kernel/config
g={root}/{kind}
mkdir -p $g/strings/0x409 $g/configs/c.1 $g/functions/{function}
echo {vendor:#06x} > $g/idVendor
echo {product:#06x} > $g/idProduct
echo '{manufacturer}' > $g/strings/0x409/manufacturer
echo '{name}' > $g/strings/0x409/product
echo touchline-hil > $g/strings/0x409/serialnumber
[ -e $g/configs/c.1/{function} ] || ln -s $g/functions/{function} $g/configs/c.1/
ls /sys/class/udc | head -n 1 > $g/UDC
udevadm settle -t 10"""
_UNPLUG: Final = """for g in {root}/*; do
[ -d $g ] || continue
echo > $g/UDC
rm -f $g/configs/c.1/*.*
rmdir $g/configs/c.1 $g/functions/* $g/strings/0x409 $g
done 2>/dev/null
udevadm settle -t 10
true"""
_LIST: Final = """for d in /sys/bus/usb/devices/*; do
[ -e $d/idVendor ] && read -r v < $d/idVendor && read -r p < $d/idProduct || continue
n=; read -r n < $d/product
echo "${d##*/}|$v|$p|$n"
done 2>/dev/null
true"""

_WAIT: Final = """n={steps}
while [ $n -gt 0 ]; do
for d in /sys/bus/usb/devices/*; do
[ -e $d/idVendor ] && read -r v < $d/idVendor && read -r p < $d/idProduct || continue
[ $v:$p = {vendor:04x}:{product:04x} ] && exit 0
done
n=$((n - 1)); sleep 0.05
done 2>/dev/null
exit 1"""


class Usb:
    """One port, one device at a time: ``plug("apx")`` is an Orin in recovery mode, ``plug("acm")`` a serial console.

    With ``acm`` the guest has both ends: ``/dev/ttyGS0`` (device) and ``/dev/ttyACM0`` (host).
    """

    def __init__(self, guest: Guest) -> None:
        self._guest = guest

    def plug(self, kind: str) -> UsbDevice:
        """Plug a device in, after taking out the one that is there; returns it as the guest enumerated it."""
        gadget = GADGETS[one_of("usb device", kind, tuple(GADGETS))]
        self.unplug()
        self._guest.run(
            _PLUG.format(
                root=_ROOT,
                kind=kind,
                function=gadget.function,
                vendor=gadget.vendor,
                product=gadget.product,
                manufacturer=gadget.manufacturer,
                name=gadget.name,
            )
        )
        return self.wait(gadget.vendor, gadget.product)

    def unplug(self) -> None:
        """Take the device out; nothing happens where none is in."""
        self._guest.run(_UNPLUG.format(root=_ROOT))

    def devices(self) -> list[UsbDevice]:
        """What the guest's USB core lists, without its root hubs (vendor 1d6b)."""
        rows = (row.split("|", 3) for row in self._guest.run(_LIST).out.splitlines())
        found = [UsbDevice(path, int(vendor, 16), int(product, 16), name) for path, vendor, product, name in rows]
        return [device for device in found if device.vendor != 0x1D6B]

    def wait(self, vendor: int, product: int, timeout_s: float = 10.0) -> UsbDevice:
        """The device once it is enumerated; HardwareError when it is not in time."""
        command = _WAIT.format(steps=max(1, round(timeout_s / 0.05)), vendor=vendor, product=product)
        self._guest.run(command, timeout_s=2 * timeout_s + 20.0, check=False)
        for device in self.devices():
            if (device.vendor, device.product) == (vendor, product):
                return device
        raise HardwareError(
            f"usb: {vendor:04x}:{product:04x} was not enumerated within {timeout_s:g} s",
            hint="see the node's kernel log; dummy_hcd and the gadget's function module must be in the image",
        )
