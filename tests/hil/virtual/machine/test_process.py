"""Processes that are found again, never mistaken, and do not outlive their owner."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from hil.virtual.machine import process as module
from hil.virtual.machine.process import (
    ProcessId,
    QemuProcess,
    alive,
    end,
    exit_on_signals,
    explain,
    identify,
    uninterrupted,
)
from touchline.errors import HardwareError, InputError, ResourceError

SLEEP = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(60)"]
STUBBORN = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(15, signal.SIG_IGN); print('up', flush=True); time.sleep(60)",
]


@pytest.mark.parametrize(
    ("said", "kind", "shown"),
    [
        ('qemu-system-aarch64: -blockdev x: Failed to get "write" lock\nIs another process using the image?',
         ResourceError, "a disk of the node is in use"),
        ("qemu-system-aarch64: cannot set up guest memory 'ram': Cannot allocate memory", ResourceError, "no memory"),
        ("x: -qmp unix:qmp.sock,server=on: Failed to bind socket to qmp.sock: Address already in use", ResourceError,
         "a socket of the run folder is taken"),
        ("x: Unable to query TUNGETIFF on FD 7: Invalid argument", ResourceError, "the tap is taken or gone"),
        ("qemu-system-aarch64: could not load kernel '/x'", InputError, "a file of the image is missing"),
        ("Could not open 'root.img': No such file or directory", InputError, "a file of the image is missing"),
        ("qemu-system-aarch64: load of migration failed: Invalid argument", InputError, "the snapshot does not load"),
        ("warning: x\nqemu-system-aarch64: something new", HardwareError, r"QEMU ended \(status 1\): something new"),
    ],
)  # fmt: skip
def test_qemus_last_words_become_one_line_with_a_remedy(said, kind, shown):
    error = explain(said, 1)
    assert type(error) is kind
    with pytest.raises(kind, match=shown):
        raise error
    assert "\n" not in str(error)


def test_a_silent_end_is_told_by_its_signal():
    assert explain("", -9).message == "QEMU ended (killed by signal 9): it said nothing"


def test_a_recycled_pid_is_another_process():
    me = identify(os.getpid())
    assert alive(me)
    earlier = ProcessId(me.pid, me.start_ticks - 1)
    assert not alive(earlier)
    end(earlier)  # would have ended this test
    assert alive(me)


@pytest.mark.parametrize("argv", [SLEEP, STUBBORN])
def test_end_is_an_end(tmp_path, argv):
    process = QemuProcess.start(argv, tmp_path)
    wait_for(tmp_path / "qemu.err", "up")
    again = QemuProcess.find(tmp_path)
    assert again is not None
    assert again.who == process.who
    assert again.running()
    assert again.argv()[-2].startswith("import")
    end(process.who, term_s=0.3)
    process.end()
    assert not process.running()
    assert QemuProcess.find(tmp_path) is None


def test_a_process_that_ended_by_itself_is_explained(tmp_path):
    process = QemuProcess.start(
        [sys.executable, "-c", "import sys; sys.exit('x: could not load kernel y')"], tmp_path, detached=True
    )
    assert process.wait(60)
    assert process.why().message == "a file of the image is missing: x: could not load kernel y"
    process.end()


def test_a_corrupt_record_is_no_process(tmp_path):
    (tmp_path / "qemu.json").write_text('{"pid": "1"}')
    assert QemuProcess.find(tmp_path) is None


@pytest.mark.system
@pytest.mark.parametrize("detached", [False, True])
def test_what_is_not_detached_dies_with_its_owner(tmp_path, detached):
    owner = f"""
import sys, time
from pathlib import Path
from hil.virtual.machine.process import QemuProcess
QemuProcess.start({SLEEP!r}, Path({str(tmp_path)!r}), detached={detached})
print("started", flush=True)
time.sleep(60)
"""
    process = subprocess.Popen([sys.executable, "-c", owner], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"started\n"
    wait_for(tmp_path / "qemu.err", "up")
    found = QemuProcess.find(tmp_path)
    assert found is not None
    process.kill()
    process.communicate()
    assert found.wait(1.0 if detached else 60.0) != detached
    found.end()
    assert not found.running()


def test_sigterm_leaves_through_the_cleanup_once():
    cleaned = []
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as left, exit_on_signals():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)  # the second one must not interrupt the cleanup
            cleaned.append(True)
    assert left.value.code == 128 + 15
    assert cleaned == [True]
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize(
    ("how", "leaves"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit), (signal.SIGHUP, SystemExit)]
)
def test_an_interrupt_waits_for_the_end_of_the_block(how: signal.Signals, leaves: type[BaseException]):
    steps = []
    with exit_on_signals():
        before = [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
        with pytest.raises(leaves):
            with uninterrupted():
                signal.raise_signal(how)
                steps.append("the block goes on")
            steps.append("never")
        if how is signal.SIGINT:  # the others ended the block above, as exit_on_signals says
            assert [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == before
    assert steps == ["the block goes on"]


def test_an_error_in_the_block_puts_the_handlers_back():
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(ValueError, match="mine"), uninterrupted():
        raise ValueError("mine")
    assert signal.getsignal(signal.SIGINT) is before


def test_a_child_of_the_block_can_be_interrupted():
    with uninterrupted():
        child = subprocess.Popen(["sleep", "60"])
    child.send_signal(signal.SIGINT)
    assert child.wait(60) == -signal.SIGINT


def test_on_another_thread_there_is_nothing_to_hold_back():
    done = []

    def work() -> None:
        with uninterrupted():
            done.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == [signal.getsignal(signal.SIGINT)]


def test_what_was_started_is_recorded_before_an_interrupt_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def interrupted(pid: int) -> ProcessId:
        signal.raise_signal(signal.SIGINT)
        return identify(pid)

    monkeypatch.setattr(module, "identify", interrupted)
    with pytest.raises(KeyboardInterrupt):
        QemuProcess.start(SLEEP, tmp_path, detached=True)
    found = QemuProcess.find(tmp_path)
    assert found is not None
    found.end()


def wait_for(path: Path, text: str) -> None:
    done = subprocess.run(
        ["timeout", "60", "sh", "-c", f"until grep -q {text} {path}; do sleep 0.02; done"], check=False
    )
    assert done.returncode == 0
