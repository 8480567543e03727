"""Trouble in a kernel's log."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hil.virtual.machine.console import Console, Trouble, clean, fatal, findings

LINES = {
    "[    6.19] Kernel panic - not syncing: sysrq triggered crash": Trouble.PANIC,
    "[    6.20] ---[ end Kernel panic - not syncing: sysrq triggered crash ]---": Trouble.PANIC,
    "[   12.3] Internal error: Oops: 0000000096000004 [#1] SMP": Trouble.OOPS,
    "[   12.3] Unable to handle kernel NULL pointer dereference at virtual address 0000000000000008": Trouble.OOPS,
    "[   99.0] watchdog: BUG: soft lockup - CPU#1 stuck for 22s! [kworker/1:1:33]": Trouble.LOCKUP,
    "[    1.0] kernel BUG at mm/slub.c:4321!": Trouble.BUG,
    "[    1.0] BUG: sleeping function called from invalid context at kernel/locking/mutex.c:585": Trouble.BUG,
    "[    1.0] WARNING: CPU: 0 PID: 312 at drivers/pwm/core.c:45 pwm_apply+0x1c/0x20": Trouble.WARNING,
    "[    1.0] WARNING: possible circular locking dependency detected": Trouble.WARNING,
    "[  242.1] INFO: task systemd:1 blocked for more than 120 seconds.": Trouble.HUNG_TASK,
    "[   60.0] rcu: INFO: rcu_preempt self-detected stall on CPU": Trouble.STALL,
    "[    2.0] EXT4-fs error (device vdb): ext4_lookup:1855: inode #2: comm ls": Trouble.FILE_SYSTEM,
    "initrd: no root file system": Trouble.NO_ROOT,
}
HARMLESS = [
    "[    0.0] Booting Linux on physical CPU 0x0000000000 [0x414fd0b1]",
    "[    0.0] debug: BUGS=0, no warning",
    "systemd[1]: Failed to find module 'autofs4'",
    "[    8.3] EXT4-fs (vdb): recovery complete",
    "WARNING: All config files need .conf: /etc/modprobe.d/x",
]


@pytest.mark.parametrize("line", LINES)
def test_trouble_is_named(line):
    assert [one.trouble for one in findings(line)] == [LINES[line]]


@pytest.mark.parametrize("line", HARMLESS)
def test_ordinary_lines_are_none(line):
    assert findings(line) == []


@given(st.lists(st.sampled_from([*LINES, *HARMLESS]), max_size=20))
def test_every_line_is_judged_by_itself_and_numbered(lines):
    found = findings("\r\n".join(lines))
    assert [(one.line, one.text) for one in found] == [
        (number, line) for number, line in enumerate(lines) if line in LINES
    ]
    dead = fatal(found)
    assert (dead is None) == (not {LINES.get(line) for line in lines} & {Trouble.PANIC, Trouble.NO_ROOT})


@given(st.text(), st.sampled_from(sorted(LINES)))
def test_no_text_before_it_hides_a_panic(noise, line):
    assert LINES[line] in [one.trouble for one in findings(f"{noise}\n{line}\n")]


def test_terminal_escapes_are_removed():
    assert clean("\x1b[0;1;31mFAILED\x1b[0m x\r\n\x1b[?2004hlogin:\x07") == "FAILED x\nlogin:"


def test_a_mark_begins_a_new_log_and_outlives_the_process(tmp_path):
    log = tmp_path / "console.log"
    console = Console(log)
    assert (console.text(), console.last_lines()) == ("", [])
    log.write_text("Kernel panic - not syncing: first boot\n")
    assert fatal(console.findings()) is not None
    console.mark()
    with log.open("a") as file:
        file.write("second boot\n\nlogin:\n")
    again = Console(log)
    again.resume()
    assert console.findings() == again.findings() == []
    assert again.last_lines(1) == ["login:"]
