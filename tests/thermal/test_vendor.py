"""The vendor's daemon: stopped only if it runs, started only where it belongs, and nothing raises."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from subprocess import CompletedProcess

import pytest

from thermal.vendor import Vendor
from touchline.errors import ResourceError, TouchlineError


class Systemctl:
    """Answers by verb; ``fails``: verbs that end with an error."""

    def __init__(self, *fails: str, missing: bool = False) -> None:
        self.fails, self.missing = fails, missing
        self.calls: list[str] = []

    def __call__(self, argv: Sequence[str], timeout_s: float) -> CompletedProcess[bytes]:
        assert argv[0] == "systemctl"
        assert argv[-1] == "nvfancontrol.service"
        assert timeout_s > 0
        if self.missing:
            raise ResourceError("systemctl is not installed")
        self.calls.append(" ".join(argv[1:-1]))
        if any(word in self.fails for word in argv):
            raise TouchlineError("systemctl failed with status 1")
        return CompletedProcess(list(argv), 0, b"", b"")


def test_stopped_only_if_it_runs():
    there, away = Systemctl(), Systemctl("is-active")
    assert Vendor(there).stop() is None
    assert Vendor(away).stop() is None
    assert "stop" in there.calls
    assert "stop" not in away.calls


def test_what_cannot_be_stopped_is_said():
    assert "nvfancontrol.service was not stopped" in (Vendor(Systemctl("stop")).stop() or "")


def test_started_where_it_is_installed_or_was_running_and_never_waited_for():
    installed, disabled, ours = Systemctl(), Systemctl("is-enabled"), Systemctl("is-enabled")
    assert Vendor(installed).start()
    assert installed.calls[-1] == "start --no-block"
    assert not Vendor(disabled).start()
    vendor = Vendor(ours)
    vendor.stop()
    assert vendor.start()
    assert not vendor.start()  # given back once


def test_a_machine_without_systemd():
    vendor = Vendor(Systemctl(missing=True))
    assert (vendor.running(), vendor.installed(), vendor.stop(), vendor.start()) == (False, False, None, False)


def test_a_machine_that_can_make_no_process(monkeypatch: pytest.MonkeyPatch):
    def popen(*_words: object, **_settings: object) -> None:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr("subprocess.Popen", popen)
    vendor = Vendor()
    assert (vendor.running(), vendor.installed(), vendor.stop(), vendor.start()) == (False, False, None, False)


def test_a_start_that_fails_is_no():
    assert not Vendor(Systemctl("start")).start()
