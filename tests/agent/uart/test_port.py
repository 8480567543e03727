"""The port: found by its node in fake trees of every kernel, opened raw and alone, and who is on it is named."""

from __future__ import annotations

import errno
import fcntl
import os
import termios
from pathlib import Path
from typing import Any

import pytest

from agent.uart.holder import check_free, holder_of
from agent.uart.port import SerialPort, _refused, find_port, open_port
from tests.agent.uart.wire import FarEnd
from touchline.errors import HardwareError, ResourceError


class Tree:
    """A /sys and a /proc to one's liking."""

    def __init__(self, folder: Path) -> None:
        self.sys, self.proc, self.dev = folder / "sys", folder / "proc", Path("/dev")
        (self.sys / "class" / "tty").mkdir(parents=True)
        self.proc.mkdir()

    def tty(self, name: str, node: str, between: str = "") -> None:
        """A tty of a platform device with this node; ``between``: devices of newer kernels between the two."""
        device = self.sys / "devices" / "platform" / "bus@0" / f"{node.rpartition('@')[2]}.serial"
        tree = self.sys / "firmware" / "devicetree" / "base" / "bus@0" / node
        tree.mkdir(parents=True)
        place = device / between / "tty" / name
        place.mkdir(parents=True)
        (device / "of_node").symlink_to(tree)
        bus = device.parent / "of_node"
        if not bus.exists():
            bus.symlink_to(tree.parent)
        (place / "device").symlink_to(device / between)
        (self.sys / "class" / "tty" / name).symlink_to(place)

    def virtual(self, name: str) -> None:
        """A tty without hardware, as the consoles."""
        place = self.sys / "devices" / "virtual" / "tty" / name
        place.mkdir(parents=True)
        (self.sys / "class" / "tty" / name).symlink_to(place)

    def process(self, pid: int, name: str, device: int, unit: str = "") -> None:
        folder = self.proc / str(pid)
        folder.mkdir()
        major, minor = os.major(device), os.minor(device)
        number = (minor & 0xFF) | major << 8 | (minor & 0xFFF00) << 12
        (folder / "stat").write_text(f"{pid} ({name}) S 1 {pid} {pid} {number} {pid} 4194560 0\n")
        if unit:
            (folder / "cgroup").write_text(f"0::/system.slice/{unit}\n")


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


@pytest.mark.parametrize("between", ["", "3100000.serial:0/3100000.serial:0.0"], ids=["5.10", "6.8"])
@pytest.mark.parametrize("name", ["ttyTHS0", "ttyTHS1", "ttyTHS4"])
def test_the_port_is_found_by_its_node_whatever_its_number(tree: Tree, name: str, between: str):
    tree.virtual("console")
    tree.tty("ttyTHS7", "serial@3140000", between)
    tree.tty(name, "serial@3100000", between)
    assert find_port("serial@3100000", tree.sys) == Path("/dev") / name


def test_a_node_that_is_not_there_names_those_that_are(tree: Tree):
    tree.tty("ttyTHS2", "serial@3140000")
    tree.virtual("tty0")
    with pytest.raises(HardwareError, match=r"serial@3100000; there is serial@3140000 \(ttyTHS2\)") as caught:
        find_port("serial@3100000", tree.sys)
    assert "jetson-io" in caught.value.hint


def test_no_tree_at_all(tmp_path: Path):
    with pytest.raises(HardwareError, match="there is none"):
        find_port("serial@3100000", tmp_path)
    assert find_port("/dev/ttyUSB0", tmp_path) == Path("/dev/ttyUSB0")


def test_a_port_is_raw_at_its_rate_and_ours_alone():
    with FarEnd() as far:
        port = open_port(far.path, 1_000_000)
        mode = termios.tcgetattr(port.fileno())
        assert mode[4] == mode[5] == termios.B1000000
        assert (mode[0], mode[1], mode[3]) == (0, 0, 0)
        assert mode[2] & termios.CSIZE == termios.CS8 and mode[2] & termios.CLOCAL
        assert not mode[2] & (termios.PARENB | termios.CSTOPB | termios.CRTSCTS | termios.HUPCL)
        assert fcntl.fcntl(port.fileno(), fcntl.F_GETFL) & os.O_NONBLOCK
        assert os.get_inheritable(port.fileno()) is False
        with pytest.raises(ResourceError, match="another program"):  # EBUSY for a user, the lock for root
            open_port(far.path, 1_000_000)
        port.write(bytes(range(256)))
        port.close()
        again = open_port(far.path, 115_200)
        again.close(restore=True)


def test_every_byte_goes_through_unchanged():
    with FarEnd() as far:
        port = open_port(far.path, 1_000_000)
        port.write(b"a\r\n" + bytes(range(256)))
        far.data.clear()
        port.write(encoded := b"$TL1\r\n\x03\x04\x11\x13\x1a" * 10)
        sent = len(encoded)
        for _ in range(10_000):
            if bytes(far.data).endswith(encoded):
                break
            fcntl.fcntl(port.fileno(), fcntl.F_GETFD)
            far_wait()
        assert bytes(far.data)[-sent:] == encoded
        port.close()


def far_wait() -> None:
    """A moment for the pacer."""
    from touchline.timeline import monotonic_ns, sleep_until

    sleep_until(monotonic_ns() + 5_000_000)


def test_what_is_no_serial_port(tmp_path: Path):
    with pytest.raises(HardwareError, match="is no serial port"):
        open_port(Path("/dev/null"), 1_000_000)
    (tmp_path / "file").touch()
    with pytest.raises(HardwareError, match="is no serial port"):
        open_port(tmp_path / "file", 1_000_000)
    with pytest.raises(HardwareError, match="is not there"):
        open_port(tmp_path / "ttyTHS9", 1_000_000)


@pytest.mark.parametrize(
    ("code", "kind", "words"),
    [
        (errno.EBUSY, ResourceError, "held by another program"),
        (errno.EACCES, ResourceError, "may not be opened"),
        (errno.EPERM, ResourceError, "may not be opened"),
        (errno.ENODEV, HardwareError, "is not there"),
        (errno.EMFILE, HardwareError, "cannot be opened"),
    ],
)
def test_refusals_have_words(code: int, kind: type[Exception], words: str):
    error = _refused(Path("/dev/ttyTHS1"), OSError(code, os.strerror(code)))
    assert isinstance(error, kind) and words in error.message


def test_a_rate_that_the_driver_does_not_take(monkeypatch: pytest.MonkeyPatch):
    real = termios.tcsetattr

    def clamped(fd: int, when: int, mode: Any) -> None:
        real(fd, when, [*mode[:4], termios.B115200, termios.B115200, mode[6]])

    monkeypatch.setattr(termios, "tcsetattr", clamped)
    with FarEnd() as far, pytest.raises(HardwareError, match="does not take 1000000 baud"):
        open_port(far.path, 1_000_000)


# --- who is on it ---

THS1 = os.makedev(238, 1)


def test_a_login_on_the_port_is_named_with_its_fix(tree: Tree):
    tree.process(1, "systemd", 0)
    tree.process(412, "agetty", THS1, "nvgetty.service")
    with pytest.raises(ResourceError) as caught:
        check_free(Path("/dev/ttyTHS1"), THS1, tree.proc)
    assert caught.value.message == "/dev/ttyTHS1 is the terminal of agetty (process 412, nvgetty.service)"
    assert caught.value.hint == "systemctl disable --now nvgetty.service && udevadm trigger -c add /dev/ttyTHS1"


@pytest.mark.parametrize("code", [errno.EACCES, errno.EPERM, errno.EBUSY])
def test_a_login_is_named_before_the_rights_that_it_took(tree: Tree, monkeypatch: pytest.MonkeyPatch, code: int):
    """agetty makes the port its own: open(2) is refused before anything can be asked of it."""
    with FarEnd() as far:
        tree.process(412, "agetty", far.path.stat().st_rdev, f"serial-getty@{far.path.name}.service")

        def refuse(*_: object, **__: object) -> int:
            raise OSError(code, os.strerror(code))

        monkeypatch.setattr(os, "open", refuse)
        with pytest.raises(ResourceError, match="is the terminal of agetty") as caught:
            open_port(far.path, 1_000_000, tree.proc)
        assert caught.value.hint.startswith(f"systemctl disable --now serial-getty@{far.path.name}.service")
        with pytest.raises(ResourceError, match=r"may not be opened|another program"):
            open_port(Path("/dev/null"), 1_000_000, tree.proc)
        with pytest.raises(ResourceError, match=r"may not be opened|another program"):
            open_port(tree.proc / "ttyTHS9", 1_000_000, tree.proc / "none")
        monkeypatch.undo()


def test_a_template_units_login(tree: Tree):
    tree.process(9, "agetty", THS1, "system-serial\\x2dgetty.slice/serial-getty@ttyTHS1.service")
    with pytest.raises(ResourceError) as caught:
        check_free(Path("/dev/ttyTHS1"), THS1, tree.proc)
    assert caught.value.hint.startswith("systemctl disable --now serial-getty@ttyTHS1.service && ")


def test_somebody_without_a_unit(tree: Tree):
    tree.process(500, "(x) y", THS1)
    held = holder_of(THS1, tree.proc)
    assert held is not None and (held.pid, held.name, held.unit) == (500, "(x) y", "")


def test_others_do_not_count(tree: Tree):
    tree.process(7, "bash", os.makedev(136, 1))
    tree.process(8, "agetty", os.makedev(238, 2))
    (tree.proc / "9").mkdir()  # ends while we look
    (tree.proc / "consoles").write_text("tty0                 -WU (EC p  )    4:7\nttyTCU0  -W- (EC p  )  511:0\n")
    check_free(Path("/dev/ttyTHS1"), THS1, tree.proc)
    assert holder_of(os.makedev(238, 1), tree.proc) is None


def test_minors_beyond_a_byte(tree: Tree):
    tree.process(8, "getty", os.makedev(238, 0x12345))
    assert holder_of(os.makedev(238, 0x12345), tree.proc) is not None
    assert holder_of(os.makedev(238, 0x45), tree.proc) is None


def test_the_kernels_console_is_named(tree: Tree):
    (tree.proc / "consoles").write_text("ttyTHS1              -W- (EC p a)  238:1\n")
    with pytest.raises(ResourceError, match="console of the kernel") as caught:
        check_free(Path("/dev/ttyTHS1"), THS1, tree.proc)
    assert "console=ttyTHS1" in caught.value.hint


def test_a_port_that_is_gone_is_closed_without_a_word():
    far = FarEnd()
    with far:
        port = open_port(far.path, 1_000_000)
    assert isinstance(port, SerialPort)
    assert port.unsent() is None
    with pytest.raises(OSError):
        port.write(b"x")
    port.close(restore=True)


def test_a_port_that_cannot_be_set_up_is_not_left_exclusive(monkeypatch):
    ours, theirs = os.openpty()
    path = Path(os.ttyname(theirs))

    def refuse(*_: object) -> None:
        raise termios.error(5, "Input/output error")

    monkeypatch.setattr(termios, "tcsetattr", refuse)
    with pytest.raises(HardwareError, match="cannot be set up"):
        open_port(path, 1_000_000)
    exclusive = fcntl.ioctl(theirs, 0x80045440, b"\0\0\0\0")  # TIOCGEXCL, linux/asm-generic/ioctls.h
    assert exclusive == b"\0\0\0\0"
    os.close(ours)
    os.close(theirs)
