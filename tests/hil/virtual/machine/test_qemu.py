"""QEMU's command line, its version, and what makes two machines the same."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from hil.virtual.machine.qemu import (
    Accel,
    MachineSpec,
    check_version,
    dump_argv,
    find_qemu,
    fingerprint,
    has_tap,
    machine_id,
    qemu_argv,
)
from touchline.errors import ResourceError

SPEC = MachineSpec(
    seat="a",
    kernel=Path("/image/vmlinuz"),
    initrd=Path("/image/initrd"),
    root_img=Path("/image/root.img"),
    dtb=Path("/image/orin.dtb"),
    run_dir=Path("/run/site/a"),
    image_id="0123",
)

GOLDEN = """\
qemu-system-aarch64
-M virt,gic-version=3,memory-backend=ram
-accel tcg,thread=multi,tb-size=512
-cpu cortex-a76
-smp 2
-m 1536
-object memory-backend-memfd,id=ram,size=1536M,share=on
-nodefaults
-no-user-config
-display none
-kernel /image/vmlinuz
-initrd /image/initrd
-append console=ttyAMA0 root=/dev/vda rw quiet mitigations=off nokaslr audit=0 touchline.seat=a \
systemd.machine_id=5cb6e5848ae04458a49d6835d1f3d78d
-dtb /image/orin.dtb
-blockdev driver=file,node-name=root-file,filename=root.qcow2,cache.no-flush=on
-blockdev driver=qcow2,node-name=root,file=root-file
-device virtio-blk-pci,id=vda,drive=root,romfile=
-blockdev driver=file,node-name=data-file,filename=data.img,cache.no-flush=on
-blockdev driver=file,node-name=data-log,filename=data.log,cache.no-flush=on
-blockdev driver=blklogwrites,node-name=data,file=data-file,log=data-log,log-sector-size=512
-device virtio-blk-pci,id=vdb,drive=data,write-cache=on,discard=off,write-zeroes=off,romfile=
-chardev socket,id=console,path=console.sock,server=on,wait=off,logfile=console.log,logappend=on
-serial chardev:console
-chardev socket,id=uart,path=uart.sock,server=on,wait=off
-device pci-serial,chardev=uart
-device virtio-serial-pci,romfile=
-chardev socket,id=shell,path=shell.sock,server=on,wait=off
-device virtconsole,chardev=shell
-chardev socket,id=agent,path=agent.sock,server=on,wait=off
-device virtserialport,chardev=agent,name=org.qemu.guest_agent.0
-netdev tap,id=net0,fd=7
-device virtio-net-pci,id=nic0,netdev=net0,mac=52:54:00:77:00:0b,romfile=
-device i6300esb
-action watchdog=reset
-device virtio-rng-pci,romfile=
-qmp unix:qmp.sock,server=on,wait=off
-name touchline-a,debug-threads=on
"""


def lines(argv: list[str]) -> str:
    """Options each with its value on a line."""
    return argv[0] + "".join(("\n" if word.startswith("-") else " ") + word for word in argv[1:]) + "\n"


def test_the_command_line_is_this_one():
    assert lines(qemu_argv(SPEC, tap_fd=7)) == GOLDEN


def test_a_restore_differs_by_its_incoming_only():
    cold, warm = qemu_argv(SPEC, tap_fd=7), qemu_argv(SPEC, tap_fd=7, incoming="exec:cat x")
    assert warm == [*cold, "-incoming", "exec:cat x"]


def test_without_a_tap_the_card_is_there_but_unplugged():
    argv = qemu_argv(SPEC)
    assert "hubport,id=net0,hubid=0" in argv
    assert not has_tap(argv)
    assert has_tap(qemu_argv(SPEC, tap_fd=3))


def test_the_device_tree_is_dumped_by_the_same_board():
    argv = dump_argv(SPEC, Path("/tmp/a,b.dtb"))
    assert argv[2] == "virt,gic-version=3,memory-backend=ram,dumpdtb=/tmp/a,,b.dtb"
    assert argv[3 : argv.index("-display")] == qemu_argv(SPEC)[3 : qemu_argv(SPEC).index("-display")]


def test_kvm_uses_the_hosts_processor():
    assert lines(qemu_argv(replace(SPEC, accel=Accel.KVM))).splitlines()[2:4] == ["-accel kvm", "-cpu host"]


def test_a_fingerprint_ignores_paths_and_sees_the_machine():
    moved = replace(SPEC, run_dir=Path("/elsewhere"), kernel=Path("/k"), root_img=Path("/r"), dtb=Path("/d"))
    assert fingerprint(moved, plugged=True) == fingerprint(SPEC, plugged=True)
    others = [replace(SPEC, seat="b"), replace(SPEC, mac="52:54:00:77:00:0c"), replace(SPEC, smp=1)]
    others += [replace(SPEC, mem_mib=2048), replace(SPEC, kernel_extra="x=1"), replace(SPEC, accel=Accel.KVM)]
    prints = {fingerprint(other, plugged=True) for other in others} | {fingerprint(SPEC, plugged=False)}
    assert len(prints | {fingerprint(SPEC, plugged=True)}) == len(others) + 2


def test_each_seat_has_a_machine_id_of_its_own():
    assert machine_id("a") != machine_id("b")
    assert len(bytes.fromhex(machine_id("a"))) == 16


@pytest.mark.parametrize(
    ("line", "number"),
    [
        ("QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18+b3)", (7, 2, 22)),
        ("QEMU emulator version 10.0.2", (10, 0, 2)),
        ("QEMU emulator version 8.0", (8, 0, 0)),
    ],
)
def test_a_version_is_read(line, number):
    assert check_version("qemu", line).number == number


def test_an_old_qemu_is_refused_with_what_is_needed():
    with pytest.raises(ResourceError, match=r"QEMU 6\.2\.0 is too old, 7\.2 or newer is needed — apt install"):
        check_version("qemu", "QEMU emulator version 6.2.0 (Debian 1:6.2+dfsg)")
    with pytest.raises(ResourceError, match="does not say its version"):
        check_version("qemu", "hello")


def test_a_missing_qemu_names_its_package(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("touchline.run.shutil.which", lambda *_, **__: None)
    with pytest.raises(ResourceError, match="qemu-system-aarch64 is not installed — apt install qemu-system-arm"):
        find_qemu()
