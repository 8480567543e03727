"""The commands: what they show on a terminal, elsewhere and to programs."""

from __future__ import annotations

import io
import json
from typing import Any

import click
import pytest
from click.testing import CliRunner
from rich.console import Console

from hil.virtual.image import build as build_module
from hil.virtual.image import custom_kernel
from hil.virtual.image import image as image_module
from hil.virtual.image.cli import build, kernel
from hil.virtual.image.image import Image
from hil.virtual.image.kernel import KernelTree
from hil.virtual.image.progress import BarReporter
from hil.virtual.image.steps import CACHED, DONE, FAILED, STARTED, StepEvent

_EVENTS = [
    StepEvent("root", STARTED, 0.0, "154 Debian packages"),
    StepEvent("kernel", CACHED, 0.0, "Linux [6.12]"),
    StepEvent("root", DONE, 12.34, "154 Debian packages"),
    StepEvent("image", FAILED, 1.0, "no space"),
]


@pytest.fixture
def requests(monkeypatch, tmp_path):
    seen = []

    def build_image(request, on_event):
        seen.append(request)
        for event in _EVENTS:
            on_event(event)
        (tmp_path / "root.img").write_bytes(b"x" * 10000)
        return Image(tmp_path, "aabb", "6.12", "0.1.0-ab", "now")

    monkeypatch.setattr(build_module, "build_image", build_image)
    monkeypatch.setattr(image_module, "default_cache", lambda: tmp_path / "cache")
    return seen


def test_the_result_is_one_line_and_progress_stands_beside_it(requests, tmp_path):
    done = CliRunner().invoke(build, [])
    assert done.exit_code == 0
    assert done.stdout.startswith(f"image aabb: {tmp_path}, ")
    assert done.stdout.endswith("next: touchline hil virtual boot\n")
    assert "root                   done       12.3 s  154 Debian packages\n" in done.stderr
    assert requests[0].cache == tmp_path / "cache"
    assert (requests[0].kernel, requests[0].keep, requests[0].force) == ("stock", 2, False)


def test_json_is_one_document_for_each_event_and_one_for_the_result(requests, tmp_path):
    options = ["--json", "--cache-dir", str(tmp_path / "c"), "--kernel", "custom", "--force", "--keep", "3"]
    done = CliRunner().invoke(build, [*options, "--mirror", "http://m/debian"])
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert lines[:-1] == [dict(event.as_dict()) for event in _EVENTS]
    assert lines[-1]["image"] == "aabb"
    assert lines[-1]["size_bytes"] > 0
    request = requests[0]
    assert (request.cache, request.kernel, request.force, request.keep) == (tmp_path / "c", "custom", True, 3)
    assert request.mirror == "http://m/debian"


def test_wrong_options_are_refused(tmp_path):
    assert CliRunner().invoke(build, ["--keep", "0"]).exit_code == 2
    assert CliRunner().invoke(build, ["--bundle", str(tmp_path / "absent.tar")]).exit_code == 2


def test_bars_show_every_step_once_with_its_last_state():
    out = io.StringIO()
    with BarReporter(Console(file=out, force_terminal=True, width=120)) as show:
        for event in _EVENTS:
            show(event)
    last = out.getvalue().split("\x1b[2K")[-1]
    assert "154 Debian packages" in last or "154 Debian packages" in out.getvalue()
    for word in ("root", "kernel", "Linux [6.12]", "image", "no space", "✓", "✗"):
        assert word in out.getvalue()


@pytest.mark.parametrize("command", [build, kernel, *kernel.commands.values()], ids=lambda command: command.name)
def test_every_command_has_an_example_and_every_option_a_text(command):
    assert "Example" in (command.help or "")
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, parameter.name


def test_kernel_status(monkeypatch, tmp_path):
    def say(*found: Any) -> str:
        monkeypatch.setattr(custom_kernel, "kernel_status", lambda _cache: custom_kernel.KernelStatus(*found))
        return CliRunner().invoke(kernel, ["status", "--cache-dir", str(tmp_path)]).stdout

    assert say(None, False, None) == "no custom kernel; make one: touchline hil virtual kernel build\n"
    assert say("6.12.9-hil", True, tmp_path) == f"kernel 6.12.9-hil, up to date: {tmp_path}\n"
    assert "from other inputs" in say("6.12.9-hil", False, tmp_path)
    shown = CliRunner().invoke(kernel, ["status", "--json", "--cache-dir", str(tmp_path)]).stdout
    assert json.loads(shown) == {"release": "6.12.9-hil", "current": False, "folder": str(tmp_path)}


def test_kernel_build(monkeypatch, tmp_path):
    seen = []

    def build_kernel(request, on_event):
        seen.append(request)
        on_event(_EVENTS[0])
        return KernelTree("6.12.9-hil", tmp_path / "Image", tmp_path, tmp_path)

    monkeypatch.setattr(custom_kernel, "build_kernel", build_kernel)
    done = CliRunner().invoke(kernel, ["build", "--cache-dir", str(tmp_path), "--force"])
    assert done.stdout == f"kernel 6.12.9-hil: {tmp_path}; next: touchline hil virtual build --kernel custom\n"
    assert seen == [custom_kernel.KernelRequest(tmp_path, force=True)]
    shown = CliRunner().invoke(kernel, ["build", "--json", "--cache-dir", str(tmp_path)]).stdout
    assert json.loads(shown.splitlines()[-1])["kernel"] == "6.12.9-hil"
