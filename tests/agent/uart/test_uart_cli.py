"""``touchline uart``: what it reads back, what it says, and its exit codes."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import tty
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from agent.parent.status import status_file
from agent.uart.cli import uart
from agent.uart.line import END, RESYNC, encode
from agent.uart.scan import Bad
from agent.uart.show import found_dict, found_text, line_dict
from tests.agent.uart.values import line

GOOD = RESYNC + b"".join(encode(line(frame)) + END for frame in (1, 2, 3))


def call(*argv: str, data: bytes = b"") -> Result:
    return CliRunner().invoke(uart, list(argv), input=data)


def run(argv: list[str], data: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "touchline.cli", "uart", *argv], input=data, capture_output=True, timeout=60, check=False
    )


@pytest.fixture
def capture(tmp_path: Path) -> Any:
    def written(data: bytes) -> str:
        path = tmp_path / "capture.txt"
        path.write_bytes(data)
        return str(path)

    return written


def test_a_clean_capture(capture):
    got = call("decode", capture(GOOD))
    assert got.exit_code == 0
    assert "camera 1 frame        1 1000000000.000000001 tsc 1   2 people #4 0.900 30x60 at 10,20" in got.output
    assert "3 lines; bad: none; 0 frames without a line, 0 lines lost" in got.output


def test_json_lines(capture):
    got = call("decode", capture(GOOD), "--json")
    *rows, sums = [json.loads(row) for row in got.output.splitlines()]
    assert rows[1:] == [line_dict(line(frame)) for frame in (1, 2, 3)] and rows[0] == {"type": "anew"}
    assert sums["type"] == "summary" and sums["lines"] == 3 and sums["bad"] == {}
    assert rows[1]["flags"] == ["clock_in_bound", "locked"] and rows[1]["raw_clock"] == "tsc"


def test_damage_is_exit_4_and_gaps_are_8_when_asked(capture):
    damaged = GOOD.replace(b"+00200", b"+00201", 1)
    got = run(["decode", capture(damaged), "--quiet"])
    assert got.returncode == 4
    assert b"2 lines; bad: 1 checksum" in got.stdout and b"fix: check ground" in got.stderr
    gap = capture(GOOD + encode(line(9)) + END)
    assert run(["decode", gap]).returncode == 0
    got = run(["decode", gap, "--strict", "--json"])
    assert got.returncode == 8
    assert json.loads(got.stdout.splitlines()[-1])["missing_frames"] == 5
    assert json.loads(got.stderr)["exit_code"] == 8


def test_nothing_and_what_is_not_there(capture, tmp_path: Path):
    assert run(["decode", capture(b"hello\n")]).returncode == 4
    assert run(["decode", str(tmp_path / "none")]).returncode == 4
    assert run(["decode", "/dev/null"]).returncode == 7


def test_standard_input(capture):
    got = run(["decode", "-", "--quiet"], GOOD)
    assert got.returncode == 0 and got.stdout.startswith(b"3 lines")


def test_a_port_until_enough_lines_came():
    master, slave = pty.openpty()
    tty.setraw(slave)
    os.write(master, b"34*12AB" + END + GOOD)
    program = [sys.executable, "-m", "touchline.cli", "uart", "decode", os.ttyname(slave), "--lines", "3", "--json"]
    with subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        out, error = process.communicate(timeout=60)
    os.close(master)
    os.close(slave)
    assert process.returncode == 0, error
    sums = json.loads(out.splitlines()[-1])
    assert sums["lines"] == 3 and sums["bad"] == {} and sums["edge_bytes"] == 7


def test_an_odd_rate():
    assert run(["decode", "/dev/ptmx", "--baud", "1234"]).returncode == 4


def test_the_layout():
    got = json.loads(call("spec", "--json").output)
    assert got["chars"] == 115 and [one["first"] for one in got["columns"]][-1] == 111
    assert "| 111..114 | crc |" in call("spec").output


@pytest.mark.parametrize("data", [b"\x1b[31m\xff" * 30, b"$TL1"])
def test_what_is_bad_cannot_drive_a_terminal(data: bytes):
    assert found_text(Bad(data, "noise")).isprintable() and found_dict(Bad(data, "noise"))["text"].isprintable()


# --- status ---


def node(folder: Path, table: str = "[uart]\n") -> str:
    text = f"""
[node]
name = "n"
run_dir = "{folder}"
[[camera]]
number = 1
source = "pattern"
calibration = "c.json"
[publish]
spool_dir = "spool"
[mqtt]
host = "rack"
ca_file = "x"
cert_file = "x"
key_file = "x"
{table}"""
    (folder / "node.toml").write_text(text)
    return str(folder / "node.toml")


def status(folder: Path, pid: int | None = None, **uart: Any) -> dict[str, Any]:
    said = {"port": "/dev/ttyTHS1", "open": True, "trouble": "", "baud": 1_000_000, "paced_per_s": 812.0, "waiting": 0,
            "times_lost": 1, "lines": 900, "bytes": 105_300, **uart}  # fmt: skip
    child = {"running": True, "ready": True, "pid": 5, "restarts": 0, "last_failure": ""}
    document = {"pid": pid or os.getpid(), "state": "running", "children": {"uart": child}, "uart": said}
    document["dropped"] = {"uart_queue": 3, "late": 9, "uart_link": 1}
    status_file(folder).write_text(json.dumps(document))
    return document


def test_status(tmp_path: Path):
    config = node(tmp_path)
    status(tmp_path)
    got = call("status", "--config", config)
    assert got.exit_code == 0
    assert "serial line /dev/ttyTHS1: open, 1000000 baud" in got.output
    assert "dropped   3 queue, 1 link; the port was lost 1 times" in got.output
    document = json.loads(call("status", "--config", config, "--json").output)
    assert document["dropped"] == {"queue": 3, "link": 1} and document["lines"] == 900


def test_status_of_a_port_that_is_not_open(tmp_path: Path):
    config = node(tmp_path)
    status(tmp_path, open=False, trouble="/dev/ttyTHS1 is the terminal of agetty")
    got = call("status", "--config", config)
    assert got.exit_code == 7 and "NOT OPEN" in got.output and "agetty" in got.output


def test_status_without_a_line_and_without_an_agent(tmp_path: Path):
    assert run(["status", "--config", node(tmp_path, "")]).returncode == 3
    config = node(tmp_path)
    assert run(["status", "--config", config]).returncode == 4, "no agent ever ran here"
    document = status(tmp_path)
    document["children"]["uart"]["running"] = False
    status_file(tmp_path).write_text(json.dumps(document))
    got = run(["status", "--config", config])
    assert got.returncode == 6 and b"does not run" in got.stderr
