"""Programs of a build: bounded, explained, and none outlives it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from hil.virtual.image.programs import DiskFull, Interrupted, Job, Programs
from tests.hil.virtual.image.fakes import wait_until
from touchline.errors import ResourceError, TouchlineError

_NEEDS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces need root")


def running(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def test_output_and_folder(tmp_path):
    assert Programs().run(["sh", "-c", "pwd"], cwd=tmp_path).decode().strip() == str(tmp_path.resolve())


def test_a_log_keeps_the_command_and_both_streams(tmp_path):
    job = Job(Programs(), tmp_path / "log")
    job.run(["sh", "-c", "echo out; echo err >&2"])
    assert (tmp_path / "log").read_text() == "$ sh -c echo out; echo err >&2\nout\nerr\n"
    assert job.read(["echo", "x"]) == b"x\n"


def test_a_failure_has_the_last_words_of_this_program_and_not_of_one_before(tmp_path):
    log = tmp_path / "log"
    job = Job(Programs(), log)
    job.run(["sh", "-c", "echo error: an old one"])
    with pytest.raises(TouchlineError, match=r"sh failed \(3\): one \| two") as raised:
        job.run(["sh", "-c", "echo one; echo two; exit 3"])
    assert raised.value.hint == f"see {log}"


def test_lines_that_say_error_come_first():
    with pytest.raises(TouchlineError, match=r"failed \(1\): x\.c:1: error: no such thing$"):
        Programs().run(["sh", "-c", "echo x.c:1: error: no such thing >&2; echo compilation terminated >&2; exit 1"])


def test_a_full_disk_is_an_error_of_its_own(tmp_path):
    with pytest.raises(DiskFull, match="sh found the disk full"):
        Programs().run(
            ["sh", "-c", "echo 'tar: x: Cannot write: No space left on device'; exit 2"], log=tmp_path / "log"
        )


def test_a_missing_program_is_named():
    with pytest.raises(ResourceError, match="no-such-program is not installed"):
        Programs().run(["no-such-program"])


@pytest.mark.system
def test_a_slow_program_and_what_it_started_are_ended(tmp_path):
    script = f"sleep 300 & echo $! > {tmp_path}/pid; wait"
    with pytest.raises(ResourceError, match=r"sh did not finish within 3 s"):
        Programs().run(["sh", "-c", script], timeout_s=3.0, log=tmp_path / "log")
    wait_until(lambda: not running(int((tmp_path / "pid").read_text())), 60.0)


def stopped_while(argv, started: Path) -> BaseException | None:
    programs, seen = Programs(), []

    def work():
        try:
            programs.run(argv, timeout_s=60.0)
        except TouchlineError as error:
            seen.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    wait_until(started.exists, 60.0)
    programs.stop(grace_s=1.0)
    thread.join(60.0)
    assert not thread.is_alive()
    with pytest.raises(Interrupted):
        programs.run(["true"])
    return seen[0] if seen else None


@pytest.mark.system
def test_stop_ends_what_runs_and_refuses_more(tmp_path):
    script = f"sleep 300 & echo $! > {tmp_path}/p; mv {tmp_path}/p {tmp_path}/pid; wait"
    assert isinstance(stopped_while(["sh", "-c", script], tmp_path / "pid"), Interrupted)
    wait_until(lambda: not running(int((tmp_path / "pid").read_text())), 60.0)


@pytest.mark.system
def test_stop_ends_one_that_does_not_listen(tmp_path):
    script = f"trap '' TERM; touch {tmp_path}/ready; while :; do sleep 0.1; done"
    assert isinstance(stopped_while(["sh", "-c", script], tmp_path / "ready"), Interrupted)


@pytest.mark.system
@_NEEDS_ROOT
def test_stop_ends_a_whole_namespace_though_unshare_blocks_the_signal(tmp_path):
    inside = f"touch {tmp_path}/ready; sleep 298.5"
    argv = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", inside]
    assert isinstance(stopped_while(argv, tmp_path / "ready"), Interrupted)
    wait_until(lambda: not sleeping("298.5"), 60.0)


@pytest.mark.system
@_NEEDS_ROOT
def test_a_killed_build_takes_its_programs_along(tmp_path):
    code = (
        "import sys; from hil.virtual.image.programs import Programs\n"
        "Programs().run(['unshare', '--pid', '--fork', '--kill-child', 'sh', '-c', sys.argv[1]])"
    )
    inside = f"touch {tmp_path}/ready; sleep 297.5"
    build = subprocess.Popen([sys.executable, "-c", code, inside])
    wait_until((tmp_path / "ready").exists, 60.0)
    build.kill()
    build.wait()
    wait_until(lambda: not sleeping("297.5"), 60.0)


def sleeping(seconds: str) -> bool:
    for entry in Path("/proc").iterdir():
        try:
            if (entry / "cmdline").read_bytes().split(b"\0")[:2] == [b"sleep", seconds.encode()]:
                return True
        except OSError:
            continue
    return False
