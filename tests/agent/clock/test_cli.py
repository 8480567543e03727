"""``touchline clock``: what it shows, what it exits with, and that its examples run."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import shlex
import shutil
import subprocess
import sys
from io import StringIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from agent.clock import cli, live
from agent.clock.history import HISTORY_FILE, HistoryWriter
from agent.clock.linuxptp import NEEDS, Ptp4l, parse_version, write_config
from agent.clock.mapping import Growth, Mapping
from agent.clock.page import Page, PageClock, page_file, write_page
from agent.clock.show import (
    age_text,
    page_document,
    plain_line,
    present,
    status_text,
    utc_text,
    writer_of,
)
from touchline.cli import touchline
from touchline.config import NodeConfig, load
from touchline.errors import InputError
from touchline.shell import guarded
from touchline.timeline import ClockState, Stamp, SystemClock, Timebase, monotonic_ns, sleep_until

REPO = Path(__file__).resolve().parents[3]
LIMIT_NS = 1_000
STATUS = {
    "state": "locked", "bound_ns": 60, "epoch": 2, "ptp_ns": 1, "source": "ptp", "limit_ns": LIMIT_NS,
    "offset_ns": -12, "path_delay_ns": 812.0, "grandmaster": "001122.fffe.334455", "port_state": "SLAVE",
    "servo": "locked", "timescale": "PTP", "utc_offset_s": 37, "residual_ns": 8.2, "pairs": 32, "phc": "/dev/ptp0",
    "method": "nvpps", "describe": "/dev/nvpps0 against /dev/ptp0", "ptp4l": {"socket": "/run/touchline-ptp/ptp4l"},
    "trouble": "", "steps": [{"ptp_ns": 1_800_000_037_500_000_000, "text": "time stepped by +40 us"}],
    "counters": {"outliers": 1, "ignored": 4, "management": {"sent": 1200}},
    "mappings": {"tsc": {"age_s": 0.4, "residual_ns": 8.2, "pairs": 32, "model": "parabola over 32"}},
}  # fmt: skip


@pytest.fixture
def node(tmp_path: Path) -> Path:
    """A configuration with source = "ptp" whose run_dir is here."""
    return configuration(tmp_path, "ptp")


def configuration(folder: Path, source: str) -> Path:
    text = (REPO / "docs" / "examples" / "node.toml").read_text()
    text = re.sub(r"^run_dir = .*$", f'run_dir = "{folder / "run"}"', text, flags=re.M)
    text = re.sub(r'^# source = "system".*$', f'source = "{source}"', text, count=1, flags=re.M)
    (folder / "run").mkdir(exist_ok=True)
    path = folder / "node.toml"
    path.write_text(text)
    return path


def mapping(timebase: Timebase, base_ns: int, bound_ns: float = 60.0, epoch: int = 2) -> Mapping:
    """A mapping with a pair taken at ``base_ns``; bound and drift are round numbers."""
    return Mapping(
        timebase, base_ns, SystemClock().now().ptp_ns, 812.4, base_ns, bound_ns, Growth(10.0, 10.0),
        locked=True, fresh_ns=3_500_000_000, limit_ns=LIMIT_NS, epoch=epoch,
    )  # fmt: skip


def put_page(run_dir: Path, ago_s: float = 0.0, pid: int = 0, **changes: Any) -> Page:
    """Write a page as of some time ago, by this process unless told."""
    written_ns = monotonic_ns() - int(ago_s * 1e9)
    mappings = {
        Timebase.TSC: mapping(Timebase.TSC, 10**12),
        Timebase.MONOTONIC: mapping(Timebase.MONOTONIC, written_ns, 300.0),
    }
    page = Page(pid or os.getpid(), written_ns, mappings, {**STATUS, **changes})
    write_page(run_dir, page)
    return page


def gone_pid() -> int:
    """The id of a process that is no more."""
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    return done.pid


def touch(*words: object) -> int:
    """Run a command line as the program does."""
    try:
        return guarded(lambda: touchline.main([str(word) for word in words], standalone_mode=False))
    except SystemExit as end:
        return int(end.code or 0)


# --- status ---


def test_status_shows_the_present_stamp_and_what_is_behind_it(node, tmp_path, capsys):
    put_page(tmp_path / "run")
    assert touch("clock", "status", "--config", node) == 0
    text = capsys.readouterr().out
    assert re.search(r"^node pitch-a1: LOCKED  ± \d+ ns of the 1 µs allowed, epoch 2$", text, re.M)
    for words in ("001122.fffe.334455", "SLAVE, /run/touchline-ptp/ptp4l", "servo        locked", "offset       -12 ns",
                  "path delay   812 ns", f"pid {os.getpid()}, page ", "outliers 1, ignored 4, sent 1,200",
                  "time stepped by +40 us", "2027-01-15 08:00:00.500 UTC"):  # fmt: skip
        assert words in text, words
    assert re.search(r"cameras \(TSC\) +\+0\.8124 +8\.2 ns +± \d+ ns +\d\.\d s +32 +parabola over 32 +locked", text)
    assert re.search(r"monotonic +\+0\.8124 +- +± 3\d\d ns", text) and "TROUBLE" not in text


def test_status_as_json_has_it_all(node, tmp_path, capsys):
    put_page(tmp_path / "run")
    assert touch("clock", "status", "--config", node, "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["running"] and document["writer"]["pid"] == os.getpid() and document["writer"]["page_age_s"] < 3
    assert document["state"] == "locked" and 60 <= document["bound_ns"] < 300 and document["limit_ns"] == LIMIT_NS
    assert document["ptp_ns"] == pytest.approx(SystemClock().now().ptp_ns, abs=10**9) and document["utc"]
    assert set(STATUS) <= set(document) and document["mappings"]["tsc"]["pairs"] == 32


def test_a_dead_clock_process_shows_a_growing_bound_and_exit_6(node, tmp_path, capsys):
    put_page(tmp_path / "run", ago_s=5.0, pid=gone_pid())
    assert touch("clock", "status", "--config", node) == 6
    text = capsys.readouterr().out
    assert "HOLDOVER" in text and re.search(r"is GONE: what it said is \d\.", text)
    put_page(tmp_path / "run", ago_s=60.0, pid=gone_pid())
    assert touch("clock", "status", "--config", node, "--check") == 6, "why it is unlocked goes first"
    assert re.search(r"UNLOCKED  ± (18|19|2\d)\.", capsys.readouterr().out)


def test_a_writer_that_hangs_is_not_running(node, tmp_path, capsys):
    put_page(tmp_path / "run", ago_s=4.0)
    assert touch("clock", "status", "--config", node) == 6
    assert re.search(r"is SILENT: what it said is \d\.", capsys.readouterr().out)


def test_check_is_for_scripts(node, tmp_path, capsys):
    put_page(tmp_path / "run")
    assert touch("clock", "status", "--config", node, "--check") == 0
    written_ns = monotonic_ns()
    wide = {Timebase.MONOTONIC: mapping(Timebase.MONOTONIC, written_ns, 5_000.0)}
    write_page(tmp_path / "run", Page(os.getpid(), written_ns, wide, STATUS))
    assert touch("clock", "status", "--config", node) == 0
    assert touch("clock", "status", "--config", node, "--check") == 8
    shown = capsys.readouterr()
    assert re.search(r"UNLOCKED  ± 5(\.\d+)? µs EXCEEDS the 1 µs allowed", shown.out) and "docs/clock.md" in shown.err


def test_nothing_mapped_yet_is_said(node, tmp_path, capsys):
    page = Page(os.getpid(), monotonic_ns(), {}, {**STATUS, "trouble": "ptp4l has not answered yet", "steps": []})
    write_page(tmp_path / "run", page)
    assert touch("clock", "status", "--config", node) == 0
    text = capsys.readouterr().out
    assert "UNLOCKED" in text and "none yet: the system clock stands in" in text
    assert "TROUBLE      ptp4l has not answered yet" in text and "no step since" in text


def test_no_page_names_the_file_and_the_way_out(node, tmp_path, capsys):
    assert touch("clock", "status", "--config", node) == 4
    said = capsys.readouterr().err
    assert str(page_file(tmp_path / "run")) in said and f"touchline agent run --config {node}" in said
    page_file(tmp_path / "run").write_text("{}")
    assert touch("clock", "status", "--config", node) == 4
    assert "restart the agent" in capsys.readouterr().err


def test_the_system_clock_speaks_for_itself(tmp_path, capsys):
    node = configuration(tmp_path, "system")
    assert touch("clock", "status", "--config", node) == 0
    assert "never locked" in capsys.readouterr().out
    assert touch("clock", "status", "--config", node, "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["source"] == "system" and document["state"] == "unlocked" and document["running"]
    assert touch("clock", "status", "--config", node, "--check") == 8
    assert 'source = "ptp"' in capsys.readouterr().err


def test_the_cameras_stamp_counts_and_without_it_the_clocks(tmp_path):
    page = put_page(tmp_path, ago_s=1.0)
    stamp = present(page, PageClock(tmp_path))
    assert 75 <= stamp.bound_ns < 315 and stamp.state is ClockState.LOCKED
    bare = Page(page.pid, page.written_ns, {Timebase.MONOTONIC: page.mappings[Timebase.MONOTONIC]}, {})
    write_page(tmp_path, bare)
    assert 315 <= present(bare, PageClock(tmp_path)).bound_ns < 450
    assert present(page, PageClock(tmp_path)).bound_ns >= 315, "the newer page has lost the TSC"


def test_a_grandmaster_without_tai_gets_no_utc(tmp_path):
    page = put_page(tmp_path, timescale="ARB")
    document = page_document("n", page, Stamp(5_000_000_000, 9, 1, ClockState.LOCKED), page.written_ns, 1)
    assert document["utc"] == "" and "5.000 s (the grandmaster's own, no UTC)" in status_text(document)
    assert plain_line(document).startswith("ptp 5000000000, locked, ± 9 ns, offset -12 ns")


def test_processes_that_are_none():
    assert not any(writer_of(Page(pid, 0, {}), 0).lives for pid in (0, -1, -(1 << 40)))


ODD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from([*STATUS, "node", "writer", "running", "utc", "mapped"]), ODD))
def test_no_status_is_too_odd_to_show(changes):
    known = mapping(Timebase.MONOTONIC, monotonic_ns())
    page = Page(os.getpid(), monotonic_ns(), {Timebase.MONOTONIC: known}, {**STATUS, **changes})
    document = page_document("n", page, known.at(known.base_ns), monotonic_ns(), LIMIT_NS)
    text = status_text(document)
    assert text.startswith("node n: LOCKED") and plain_line(document)
    assert all(letter.isprintable() or letter == "\n" for letter in text)


def test_ages():
    assert [age_text(s) for s in (0.42, 200.0, 18_120.0)] == ["0.4 s", "3 min 20 s", "5 h 02 min"]
    assert utc_text(5) == utc_text(1 << 62, -1e15) == ""
    assert utc_text(1_800_000_037_123_456_789, 37) == "2027-01-15 08:00:00.123 UTC"


# --- status --watch ---


def looks(*values: Any) -> Any:
    """A look that gives these one after the other, then ends as Ctrl-C does."""
    left = list(values)

    def look() -> dict[str, Any]:
        if not left:
            raise KeyboardInterrupt
        value = left.pop(0)
        if isinstance(value, Exception):
            raise value
        return dict(value)

    return look


def documents(folder: Path) -> list[dict[str, Any]]:
    page = put_page(folder)
    stamps = [Stamp(1_800_000_037_000_000_000, bound_ns, 1, state) for bound_ns, state in
              ((60, ClockState.LOCKED), (400, ClockState.HOLDOVER), (90_000, ClockState.UNLOCKED))]  # fmt: skip
    return [page_document("n", page, stamp, page.written_ns, LIMIT_NS) for stamp in stamps]


def test_watch_in_a_pipe_is_a_line_a_look(tmp_path, capsys):
    pauses: list[int] = []
    missing = InputError("no page", hint="start it")
    with pytest.raises(KeyboardInterrupt):
        live.watch(looks(missing, *documents(tmp_path)), False, pauses.append)
    shown = capsys.readouterr()
    assert len(shown.out.splitlines()) == 3 and "no page" in shown.err
    assert shown.out.startswith("2027-01-15 08:00:00.000 UTC, locked, ± 60 ns, offset -12 ns, path delay 812 ns, epoch")
    assert len(pauses) == 4
    assert all(450_000_000 < later - one < 60_000_000_000 for one, later in pairwise(pauses))


def test_watch_as_json_is_a_document_a_line(tmp_path, capsys):
    with pytest.raises(KeyboardInterrupt):
        live.watch(looks(*documents(tmp_path)), True, lambda _: None)
    lines = capsys.readouterr().out.splitlines()
    assert [json.loads(line)["state"] for line in lines] == ["locked", "holdover", "unlocked"]


def test_the_live_view(tmp_path):
    console = Console(file=StringIO(), force_terminal=True, width=120, height=40)
    with live.Screen(console) as screen:
        for document in documents(tmp_path):
            screen.show(document)
        screen.fault(InputError("[bold]no page[/]", hint="start it"))
    assert isinstance(console.file, StringIO)
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", console.file.getvalue())
    for words in ("6 % of the limit", "40 % of the limit", "90 times the limit", "[bold]no page[/]", "Ctrl-C ends"):
        assert words in text, words


@pytest.mark.system
def test_ctrl_c_ends_the_live_view_with_130_and_the_cursor_back(node, tmp_path):
    put_page(tmp_path / "run")
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "touchline.cli", "clock", "status", "--config", str(node), "--watch"]
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "120", "LINES": "40"}
    process = subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment, start_new_session=True
    )
    os.close(theirs)
    shown, deadline_ns = b"", monotonic_ns() + 120_000_000_000
    while shown.count("± ".encode()) < 6 and monotonic_ns() < deadline_ns:
        shown += os.read(ours, 65536) if select.select([ours], [], [], 0.2)[0] else b""
    process.send_signal(2)
    while process.poll() is None and monotonic_ns() < deadline_ns:
        if select.select([ours], [], [], 0.2)[0]:
            shown += _read(ours)
    sleep_until(monotonic_ns() + 50_000_000)
    shown += _read(ours) if select.select([ours], [], [], 0.2)[0] else b""
    os.close(ours)
    assert process.wait(30) == 130
    assert b"\x1b[?25l" in shown and shown.rindex(b"\x1b[?25h") > shown.rindex(b"\x1b[?25l")
    assert b"interrupted" in shown and b"Traceback" not in shown


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65536)
    except OSError:  # the other end is closed
        return b""


def test_watch_and_check_exclude_each_other(node):
    assert touch("clock", "status", "--config", node, "--watch", "--check") == 2


# --- plot ---


def put_history(run_dir: Path, seconds: int = 300) -> None:
    writer, now_ns, ptp_ns = HistoryWriter(run_dir), monotonic_ns(), SystemClock().now().ptp_ns
    for ago in range(seconds, 0, -1):
        time = {"ptp_ns": ptp_ns - ago * 10**9, "at_ns": now_ns - ago * 10**9}
        if ago == 100:
            writer.add({**time, "event": "clock_step", "severity": "error", "text": "the clock <stepped> & came back"})
        state = "locked" if ago > 50 else "holdover"
        writer.add({**time, "offset_ns": -12, "bound_ns": 84, "state": state, "epoch": 1, "path_delay_ns": 812.0})


def test_plot_draws_and_says_what_it_saw(node, tmp_path, capsys):
    put_history(tmp_path / "run")
    out = tmp_path / "clock.svg"
    assert touch("clock", "plot", "--config", node, "--out", out) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"{out}: 300 lines, 1 events; locked 83.33 %, holdover 16.67 %; bound at most 84 ns")
    assert "Clock of pitch-a1" in out.read_text() and "&lt;stepped&gt; &amp; came back" in out.read_text()
    assert "limit 1 µs" in out.read_text() and list(tmp_path.glob(".*")) == []


def test_plot_by_the_pages_timescale(node, tmp_path):
    put_history(tmp_path / "run")
    put_page(tmp_path / "run", timescale="ARB")
    assert touch("clock", "plot", "--config", node, "--out", tmp_path / "clock.svg") == 0
    assert ">ago</text>" in (tmp_path / "clock.svg").read_text()


def test_plot_as_json_gives_the_rows(node, tmp_path, capsys):
    put_history(tmp_path / "run")
    assert touch("clock", "plot", "--config", node, "--json", "--seconds", "60") == 0
    value = json.loads(capsys.readouterr().out)
    assert 50 < len(value["rows"]) <= 60 and value["events"] == [] and value["out"] is None
    assert value["rows"][-1]["at_s"] == 0 and value["rows"][0]["state"] == "locked" and value["damaged"] == 0
    assert touch("clock", "plot", "--config", node, "--json", "--out", tmp_path / "both.svg") == 0
    assert json.loads(capsys.readouterr().out)["events"][0]["code"] == "clock_step"
    assert (tmp_path / "both.svg").exists()


def test_plot_of_nothing_says_what_to_do(node, tmp_path, capsys):
    assert touch("clock", "plot", "--config", node, "--out", tmp_path / "clock.svg") == 4
    said = capsys.readouterr().err
    assert HISTORY_FILE in said and 'source = "ptp"' in said
    (tmp_path / "run" / HISTORY_FILE).write_text("rubbish\n")
    assert touch("clock", "plot", "--config", node, "--json") == 4
    assert "1 damaged" in capsys.readouterr().err


def test_plot_refuses_what_it_cannot_write(node, tmp_path, capsys):
    put_history(tmp_path / "run", 5)
    assert touch("clock", "plot", "--config", node) == 2
    assert touch("clock", "plot", "--config", node, "--out", "clock.png") == 2
    assert touch("clock", "plot", "--config", node, "--out", tmp_path / "no" / "clock.svg") == 5
    assert "--out" in capsys.readouterr().err


# --- config ---


def test_config_prints_for_any_version_without_a_ptp4l(node, capsys):
    assert touch("clock", "config", "--config", node, "--print", "--for-version", "3.1.1") == 0
    old = capsys.readouterr().out
    assert "slaveOnly 1" in old and "uds_ro_address" not in old and "# --- phc2sys.env\nPHC2SYS_ARGS=-s eth0" in old
    assert touch("clock", "config", "--config", node, "--print", "--for-version", "4.2", "--json") == 0
    assert "clientOnly 1" in json.loads(capsys.readouterr().out)["files"]["ptp4l.conf"]
    for wrong in ("new", "2.0"):
        assert touch("clock", "config", "--config", node, "--print", "--for-version", wrong) == 2


def test_config_writes_what_write_config_writes(node, tmp_path, capsys):
    assert touch("clock", "config", "--config", node, "--out", tmp_path / "ptp", "--for-version", "4.0") == 0
    assert capsys.readouterr().out.split() == [str(tmp_path / "ptp" / name) for name in ("ptp4l.conf", "phc2sys.env")]
    write_config(load(node, NodeConfig), tmp_path / "other", Ptp4l(Path("ptp4l"), parse_version("4.0")))
    for name in ("ptp4l.conf", "phc2sys.env"):
        assert (tmp_path / "ptp" / name).read_text() == (tmp_path / "other" / name).read_text()


def test_config_of_a_system_clock_is_nothing(tmp_path, capsys):
    node = configuration(tmp_path, "system")
    assert touch("clock", "config", "--config", node, "--out", tmp_path / "ptp") == 0
    assert "nothing written" in capsys.readouterr().out and list((tmp_path / "ptp").iterdir()) == []
    assert touch("clock", "config", "--config", node, "--print") == 0
    assert "neither" in capsys.readouterr().out


@pytest.mark.parametrize("program", sorted(NEEDS))
def test_needs_answers_the_units(tmp_path, program, capsys):
    assert touch("clock", "config", "--config", configuration(tmp_path, "ptp"), "--needs", program) == 0
    assert touch("clock", "config", "--config", configuration(tmp_path, "system"), "--needs", program, "--json") == 1
    assert '"needed": false' in capsys.readouterr().out


def test_the_choice_of_needs_is_the_rules():
    assert set(cli.NEEDS) == set(NEEDS)


def test_config_wants_one_task(node, tmp_path):
    assert touch("clock", "config", "--config", node) == 2
    assert touch("clock", "config", "--config", node, "--print", "--out", tmp_path) == 2


# --- help ---


def examples() -> list[str]:
    found = []
    for command in (cli.clock, *cli.clock.commands.values()):
        lines = (command.help or "").splitlines()
        found += [line.strip() for line in lines if line.strip().startswith("touchline clock")]
    return found


@pytest.mark.parametrize("example", sorted(set(examples())))
def test_every_example_of_the_help_runs(example, node, tmp_path, monkeypatch, capsys):
    if "for-version" not in example and re.search("--print|--out /run", example) and shutil.which("ptp4l") is None:
        pytest.skip("linuxptp is not installed")
    put_page(tmp_path / "run")
    put_history(tmp_path / "run", 30)
    monkeypatch.setattr(live, "sleep_until", lambda _: None)
    monkeypatch.setattr(live, "watch", lambda look, as_json: None)
    words = shlex.split(example.partition("|")[0].replace("/run/touchline-ptp", str(tmp_path / "ptp")))
    monkeypatch.chdir(tmp_path)
    assert words.pop(0) == "touchline" and touch(*words) == 0
    assert capsys.readouterr().out


def test_every_option_says_what_it_does():
    for command in cli.clock.commands.values():
        assert all(one.help for one in command.params if isinstance(one, click.Option))
