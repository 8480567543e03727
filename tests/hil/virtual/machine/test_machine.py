"""A machine with its guest: boot, freeze, restore, cut, panic, and what its owner's death leaves."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from hil.rack.broker import inside
from hil.virtual.devices.watchdog import Watchdog
from hil.virtual.machine import network
from hil.virtual.machine.disks import DATA_LABEL
from hil.virtual.machine.machine import Machine
from hil.virtual.machine.network import Network
from hil.virtual.machine.process import ProcessId, QemuProcess, alive
from hil.virtual.machine.qemu import DATA_DISK, MachineSpec, dump_argv, find_qemu
from hil.virtual.machine.shell import attach
from hil.virtual.machine.snapshot import STATE_FILE, Snapshot, load_snapshot
from hil.virtual.machine.state import Site, Sites
from hil.virtual.node import machine_spec
from tests.hil.virtual.machine.fakes import until
from touchline.errors import HardwareError, InputError, ResourceError
from touchline.run import run
from touchline.timeline import monotonic_ns, utc_s

pytestmark = [pytest.mark.system, pytest.mark.virtual]

HUNG_S = 50.0
FREE_REGISTER = 0xFF000  # no device is there
PANIC = "echo 1 > /proc/sys/kernel/sysrq; (sleep 0.3; echo c > /proc/sysrq-trigger) >/dev/null 2>&1 &"


@pytest.fixture(scope="module")
def golden(virtual_image, virtual_folder) -> Iterator[Snapshot]:
    """A machine of seat a, booted and frozen; nothing of ours runs in it yet."""
    spec = machine_spec(virtual_image, "a", virtual_folder / "machine-boot")
    with Network(f"m{os.getpid()}") as net, Machine(spec, network=net) as machine:
        machine.boot()
        machine.registers.write32(FREE_REGISTER, 0xC0FFEE)
        machine.guest.write_file("/root/before", b"frozen")
        frozen = machine.snapshot(virtual_folder / "machine-golden")
        assert machine.guest.read_file("/root/before") == b"frozen"  # it goes on
    yield load_snapshot(frozen.folder)


@pytest.fixture
def net() -> Iterator[Network]:
    with Network(f"m{os.getpid()}") as made:
        yield made


@pytest.fixture
def spec(virtual_image, tmp_path) -> MachineSpec:
    return machine_spec(virtual_image, "a", tmp_path / "run with a space")


@pytest.fixture
def machine(golden, spec, net) -> Iterator[Machine]:
    with Machine(spec, network=net) as made:
        made.restore(golden)
        yield made


def test_a_restored_guest_answers_in_time_with_its_files_and_the_hosts_clock(golden, spec, net, record_property):
    took_s = []
    for _ in range(2):
        with Machine(spec, network=net) as machine:
            began_ns = monotonic_ns()
            machine.restore(golden)
            took_s.append((monotonic_ns() - began_ns) / 1e9)
            before_s, guest_s, after_s = utc_s(), machine.guest.time_ns() / 1e9, utc_s()
            assert before_s - 1.0 < guest_s < after_s + 1.0
            assert machine.guest.read_file("/root/before") == b"frozen"
            assert machine.registers.read32(FREE_REGISTER) == 0xC0FFEE
            machine.guest.run("rm /root/before")  # the second restore has it again
    record_property("restore_s", took_s)
    assert min(took_s) < HUNG_S, took_s  # the bar of 3 s is held by benchmarks/virtual.py, beside nothing else


def test_two_machines_of_one_snapshot_are_independent(golden, machine, spec, tmp_path):
    with (
        Network(f"n{os.getpid()}") as other_net,
        Machine(replace(spec, run_dir=tmp_path / "2"), network=other_net) as two,
    ):
        two.restore(golden)
        two.guest.write_file("/root/mine", b"two")
        machine.guest.write_file("/root/mine", b"one")
        assert (machine.guest.read_file("/root/mine"), two.guest.read_file("/root/mine")) == (b"one", b"two")


def test_large_files_and_output_pass(machine):
    data = os.urandom(3_000_000)
    machine.guest.write_file("/root/large", data)
    assert machine.guest.read_file("/root/large") == data
    assert len(machine.guest.run("yes 0123456789 | head -c 1000000").out) == 1_000_000


def test_the_network_card_is_on_the_racks_bridge(machine, net):
    name = machine.guest.run("ip -br link | grep 52:54:00:77 | cut -d' ' -f1").out.strip()
    machine.guest.run(f"ip addr flush dev {name}; ip addr add 10.77.0.99/24 dev {name}; ip link set {name} up")
    knock = "import socket; socket.create_connection(('10.77.0.99', 9), 60)"
    knocked = subprocess.run([*inside(net.namespace), sys.executable, "-c", knock], capture_output=True, check=False)
    assert b"ConnectionRefusedError" in knocked.stderr  # the guest itself said no
    machine.set_link(False)
    until(lambda: machine.guest.read_file(f"/sys/class/net/{name}/carrier") == b"0\n", "carrier lost")
    machine.set_link(True)
    until(lambda: machine.guest.read_file(f"/sys/class/net/{name}/carrier") == b"1\n", "carrier back")


def test_a_panic_is_told_at_once_with_its_last_lines(machine):
    machine.guest.run(PANIC)
    until(lambda: "end Kernel panic" in machine.console.text(), "panic")
    began_ns = monotonic_ns()
    with pytest.raises(HardwareError, match=r"node a: guest kernel panic: .*sysrq triggered crash(?s:.*)\n  \| "):
        machine.wait_guest(60.0)
    assert (monotonic_ns() - began_ns) / 1e9 < 20.0


def test_the_watchdog_resets_a_dead_kernel_and_the_second_boot_is_known(machine):
    watchdog = Watchdog(machine.guest)
    watchdog.set_timeout_s(10)  # fed every 5 s: a host that is late may hold that up for a while
    assert watchdog.timeout_s() == 10
    machine.guest.run(PANIC)
    machine.wait_boot(2)
    assert (machine.boots, machine.last_reset()) == (2, "watchdog")
    assert machine.console.findings() == []  # the panic belongs to the first boot
    machine.reset()
    until(lambda: machine.last_reset() == "host-qmp-system-reset", "reset")
    machine.check()
    assert machine.boots == 3


def test_a_power_cut_keeps_what_was_flushed_and_the_file_system(machine):
    guest = machine.guest
    # no flush of the journal's own before the cut, however long this takes
    guest.run("mkdir -p /mnt/t && mount /dev/vdb /mnt/t && mount -o remount,commit=300 /mnt/t")
    guest.run(
        "for i in $(seq 40); do echo $i > /mnt/t/kept.$i; done; sync; dd if=/dev/urandom of=/mnt/t/sum bs=1M count=4"
    )
    total = guest.run("sync; sha256sum < /mnt/t/sum").out
    guest.run(
        "dd if=/dev/urandom of=/mnt/t/lost bs=64k count=64 oflag=direct; for i in $(seq 99); do :> /mnt/t/n.$i; done"
    )
    result = machine.power_cut(seed=7)
    assert machine.pid is None
    assert result.lost_writes > 0
    assert result.torn_writes > 0
    assert result.lost_bytes >= 512
    assert result.flushes >= 2
    machine.boot()
    guest.run("umount /dev/vdb; e2fsck -p /dev/vdb || [ $? = 1 ]; e2fsck -fn /dev/vdb")
    guest.run("mkdir -p /mnt/t && mount /dev/vdb /mnt/t")
    assert guest.run("cat /mnt/t/kept.* | wc -l").out.strip() == "40"
    assert guest.run("sha256sum < /mnt/t/sum").out == total


def test_the_data_disk_has_its_label(machine):
    assert machine.guest.run("blkid -o value -s LABEL /dev/vdb").out.strip() == DATA_LABEL


def test_a_power_off_by_the_guest_is_told(machine):
    machine.guest.run("(sleep 0.5; systemctl poweroff) >/dev/null 2>&1 &")
    with pytest.raises(HardwareError, match="node a: the guest powered off"):
        until(lambda: machine.check() is not None, "power-off", 120.0)
    assert machine.pid is None


def test_a_shutdown_flushes_both_disks(machine):
    machine.guest.run("mkdir -p /mnt/t && mount /dev/vdb /mnt/t && echo whole > /mnt/t/kept")
    assert machine.shutdown(120.0)
    assert machine.pid is None
    kept = run(["debugfs", "-R", "cat /kept", machine.run_dir / DATA_DISK], env={"PATH": "/usr/sbin:/sbin:/usr/bin"})
    assert kept.stdout == b"whole\n"
    run(["qemu-img", "check", "-q", machine.run_dir / "root.qcow2"])
    with pytest.raises(HardwareError, match="node a is off — boot it first"):
        machine.check()


def test_qemus_death_is_told(machine):
    os.kill(machine.pid, signal.SIGKILL)
    with pytest.raises(HardwareError, match=r"node a: QEMU ended \(killed by signal 9\)"):
        machine.wait_guest(60.0)


def test_one_run_folder_holds_one_machine(machine, spec):
    with pytest.raises(ResourceError, match=f"a node runs in .* \\(pid {machine.pid}\\) — destroy it first"):
        Machine(spec).boot()


def test_a_damaged_snapshot_and_a_missing_image_file_are_told_and_nothing_runs(golden, spec, net, tmp_path):
    broken = tmp_path / "broken"
    run(["cp", "-r", golden.folder, broken])
    with (broken / STATE_FILE).open("r+b") as file:
        file.write(b"junk")
    machine = Machine(spec, network=net)
    with pytest.raises(InputError, match=r"the snapshot does not load: .* — make it again"):
        machine.restore(load_snapshot(broken))
    assert QemuProcess.find(spec.run_dir) is None
    with pytest.raises(InputError, match="absent of the image is missing — build the image again"):
        Machine(replace(spec, kernel=Path("absent"))).boot()
    with pytest.raises(InputError, match=r"a file of the image is missing"):
        Machine(replace(spec, dtb=spec.run_dir / DATA_DISK)).boot()  # no device tree
    assert QemuProcess.find(spec.run_dir) is None
    assert network.inspect(net.namespace).taps == 0


def test_a_detached_machine_is_found_used_and_destroyed_by_others(golden, virtual_image, net, tmp_path):
    sites = Sites(tmp_path)
    name = net.namespace.removeprefix(network.PREFIX)
    with sites.claim(name):
        started = Machine(machine_spec(virtual_image, "a", sites.run_dir(name, "a")), network=net, detached=True)
        started.restore(golden)
        sites.save(Site(name, virtual_image.image_id, ("a",), started_utc="now"))
        started.leave()
    assert sites.status(name).pids["a"] is not None
    found = Machine.attach(sites.run_dir(name, "a"))
    assert found.guest.run("echo here").out == "here\n"
    assert found.snapshot(tmp_path / "again").plugged
    found.leave()
    sites.destroy(name)
    assert net.namespace not in network.namespaces()
    with pytest.raises(InputError):
        Machine.attach(sites.run_dir(name, "a"))


def test_a_pipe_into_the_shell_gives_what_it_says(machine, tmp_path):
    path = tmp_path / "said"
    read, write = os.pipe()
    os.write(write, b"echo the answer is $((6*7))\n")
    os.close(write)
    with path.open("wb") as out:
        attach(machine.run_dir / "shell.sock", read, out.fileno())
    os.close(read)
    assert b"the answer is 42" in path.read_bytes()


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_outlives_its_owner(golden, spec, tmp_path, how):
    name = f"o{os.getpid()}"
    script = tmp_path / "owner.py"
    script.write_text(f"""
import pickle, signal, sys, time
from pathlib import Path
from hil.virtual.machine.machine import Machine
from hil.virtual.machine.network import Network
from hil.virtual.machine.process import exit_on_signals
from hil.virtual.machine.snapshot import load_snapshot
spec = pickle.loads(Path(sys.argv[1]).read_bytes())
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job inherits it ignored
with exit_on_signals(), Network("{name}") as net, Machine(spec, network=net) as machine:
    machine.restore(load_snapshot(Path(sys.argv[2])))
    print("up", flush=True)
    time.sleep(60)
""")
    (tmp_path / "spec").write_bytes(pickle.dumps(spec))
    words = [sys.executable, str(script), str(tmp_path / "spec"), str(golden.folder)]
    owner = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert owner.stdout is not None
    assert owner.stdout.readline() == b"up\n"
    process = QemuProcess.find(spec.run_dir)
    assert process is not None
    who: ProcessId = process.who
    owner.send_signal(how)
    try:
        owner.communicate(timeout=90)
    finally:
        owner.kill()
    until(lambda: not alive(who), "end of QEMU")
    if how is signal.SIGKILL:
        assert f"tlv-{name}" in network.sweep()
    assert f"tlv-{name}" not in network.namespaces()


def test_the_device_tree_comes_from_the_same_board(spec, tmp_path):
    run(dump_argv(spec, tmp_path / "board, bare.dtb", program=find_qemu().program))
    assert (tmp_path / "board, bare.dtb").read_bytes()[:4] == b"\xd0\x0d\xfe\xed"
