"""run, notify, units, stats, shell: the small shared parts."""

from __future__ import annotations

import errno
import json
import os
import socket
import sys

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from touchline import errors
from touchline.errors import ConfigError, ResourceError, TouchlineError
from touchline.notify import notify, watchdog_interval_s
from touchline.run import need, run
from touchline.shell import emit, explain, guarded
from touchline.stats import Window
from touchline.units import format_bytes, format_duration, parse_bytes, parse_size_px


def test_need_names_the_package():
    assert need("python3", "python3").endswith("python3")
    with pytest.raises(ResourceError, match="apt install nothing-like-it"):
        need("no-such-program-here", "nothing-like-it")


def test_run_gives_output_or_the_last_words():
    assert run([sys.executable, "-c", "print(1+1)"]).stdout == b"2\n"
    with pytest.raises(TouchlineError, match="status 3: oh no"):
        run([sys.executable, "-c", "import sys; sys.stderr.write('oh no'); sys.exit(3)"])
    with pytest.raises(ResourceError, match="within"):
        run([sys.executable, "-c", "import select; select.select([],[],[],60)"], timeout_s=0.2)
    with pytest.raises(ResourceError, match="not installed"):
        run(["/no/such/program"])


def raising(error: OSError):
    def popen(*_words: object, **_settings: object):
        raise error

    return popen


@pytest.mark.parametrize("number", [errno.EAGAIN, errno.ENOMEM, errno.EMFILE])
def test_a_process_that_cannot_be_made_is_our_error_with_the_commands_name(monkeypatch, number):
    monkeypatch.setattr("subprocess.Popen", raising(OSError(number, os.strerror(number))))
    with pytest.raises(ResourceError, match=f"true could not be run: {os.strerror(number)}"):
        run(["true"])


def test_what_is_no_program_and_a_folder_that_is_gone_are_our_errors(tmp_path):
    with pytest.raises(ResourceError, match=f"{tmp_path} could not be run: {tmp_path}: Permission denied"):
        run([tmp_path])
    with pytest.raises(ResourceError, match=f"could not be run: {tmp_path / 'gone'}: No such file"):
        run([sys.executable, "--version"], cwd=tmp_path / "gone")


def test_notify_reaches_a_supervisor(tmp_path):
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as supervisor:
        supervisor.bind(path)
        assert notify("READY=1", "STATUS=frames flow", environ={"NOTIFY_SOCKET": path})
        assert supervisor.recv(100) == b"READY=1\nSTATUS=frames flow"


def test_notify_without_a_supervisor_is_silent():
    assert not notify("READY=1", environ={})
    assert not notify("READY=1", environ={"NOTIFY_SOCKET": "relative"})
    assert not notify("READY=1", environ={"NOTIFY_SOCKET": "/no/such/socket"})


def test_watchdog_rhythm_is_half_the_limit_and_only_for_this_process():
    assert watchdog_interval_s({"WATCHDOG_USEC": "2000000"}) == 1.0
    assert watchdog_interval_s({"WATCHDOG_USEC": "2000000", "WATCHDOG_PID": str(os.getpid())}) == 1.0
    assert watchdog_interval_s({"WATCHDOG_USEC": "2000000", "WATCHDOG_PID": "1"}) is None
    assert watchdog_interval_s({}) is None


@pytest.mark.parametrize(("text", "count"), [("512MiB", 512 << 20), ("2 GB", 2 * 10**9), ("7", 7), ("1.5kB", 1500)])
def test_sizes_with_units(text, count):
    assert parse_bytes(text) == count


@pytest.mark.parametrize("text", ["", "MiB", "-1MB", "1 mb", "1e3MB"])
def test_no_sizes(text):
    with pytest.raises(ValueError, match="no size"):
        parse_bytes(text)


def test_sizes_for_people_and_pictures():
    assert format_bytes(1_105_920_000) == "1.11 GB"
    assert format_bytes(104) == "104 B"
    assert parse_size_px("1280x720") == (1280, 720)
    for bad in ("1280", "0x720", "1280X720", "x"):
        with pytest.raises(ConfigError, match="WIDTHxHEIGHT"):
            parse_size_px(bad)


def test_no_value_has_no_percentile():
    assert Window().summary() is None


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=300))
def test_percentiles_are_values_seen_and_ordered(values):
    window = Window(size=1000)
    for value in values:
        window.add(value)
    summary = window.summary()
    assert summary is not None
    assert summary.p50 in values
    assert summary.p99 in values
    assert summary.p50 <= summary.p99 <= summary.max == max(values)
    assert summary.count == len(values)


def test_percentile_is_nearest_rank():
    window = Window()
    for value in range(1, 101):
        window.add(value)
    summary = window.summary()
    assert summary is not None
    assert (summary.p50, summary.p99, summary.max) == (50, 99, 100)


def test_every_kind_of_error_has_its_own_exit_code():
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, TouchlineError)]
    codes = [kind.exit_code for kind in kinds]
    assert len(set(codes)) == len(codes)
    assert not {0, 2, 130} & set(codes)


def test_errors_become_exit_codes_and_one_line(capsys):
    def fail() -> None:
        raise ConfigError("ring.slots = 1", hint="use 4 or more")

    assert guarded(fail) == 3
    assert capsys.readouterr().err == "touchline: ring.slots = 1\n      fix: use 4 or more\n"
    assert json.loads(explain(ConfigError("a", hint="b"), as_json=True)) == {"error": "a", "fix": "b", "exit_code": 3}


def test_interrupt_and_usage_codes():
    def interrupt() -> None:
        raise KeyboardInterrupt

    def misuse() -> None:
        raise click.UsageError("no such option")

    assert guarded(interrupt) == 130
    assert guarded(misuse) == 2
    assert guarded(lambda: None) == 0


def test_emit_prints_one_of_the_two(capsys):
    emit({"a": 1}, True, "text")
    assert json.loads(capsys.readouterr().out) == {"a": 1}
    emit({"a": 1}, False, "text")
    assert capsys.readouterr().out == "text\n"


def test_durations_are_read_in_their_unit():
    sizes = [0, 1, 84, -9.4, 999, 999.6, 1_250, 3_100, 999_999, -9_200_000, 1e9, 3.2e12]
    assert [format_duration(ns) for ns in sizes] == [
        *("0 ns", "1 ns", "84 ns", "-9.4 ns", "999 ns", "1 µs", "1.25 µs", "3.1 µs", "1 ms", "-9.2 ms", "1 s"),
        "3,200 s",
    ]
