"""The program in the node that feeds the shared camera: on the grid of absolute time, whatever its clock does."""

from __future__ import annotations

import importlib.util
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from hil.virtual import scene
from hil.virtual.scene import Change, Scene

SCRIPT = Path(scene.__file__).parent / "guest" / "usr" / "local" / "lib" / "touchline-hil" / "optics"
PERIOD_NS = 10**9 // scene.RATE_HZ


class World:
    """Clocks that only sleeping moves. ``oversleep_ns``: what the next sleep takes besides."""

    def __init__(self) -> None:
        self.now_ns, self.ahead_ns, self.oversleep_ns = 5 * 10**9, 1_795_000_000 * 10**9, 0
        self.time = SimpleNamespace(
            monotonic_ns=lambda: self.now_ns,
            time_ns=lambda: self.now_ns + self.ahead_ns,
            thread_time_ns=lambda: 0,
            sleep=self.sleep,
        )

    def sleep(self, seconds: float) -> None:
        self.now_ns += round(seconds * 1e9) + self.oversleep_ns
        self.oversleep_ns = 0


class Output:
    """Keeps what is sent: number, stamp, and the frame that the picture shows."""

    def __init__(self) -> None:
        self.pictures = [np.zeros(scene.FRAME_BYTES, np.uint8) for _ in range(8)]
        self.sent: list[tuple[int, int, int | None]] = []

    def send(self, index: int, number: int, stamp_ns: int) -> None:
        self.sent.append(
            (number, stamp_ns, scene.frame_in(self.pictures[index], scene.frame_at(1_795_000_000 * 10**9)))
        )


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def module(world: World, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    loader = SourceFileLoader("optics_feeder", str(SCRIPT))
    found = importlib.util.spec_from_loader("optics_feeder", loader)
    assert found is not None
    loaded = importlib.util.module_from_spec(found)
    loader.exec_module(loaded)
    monkeypatch.setattr(loaded, "time", world.time)
    return loaded


def feeder(module: ModuleType, folder: Path) -> tuple[Any, Output]:
    output = Output()
    return module.Feeder(output, module.Wishes(str(folder / "optics.json"))), output


def turns(one: Any, count: int) -> None:
    for _ in range(count):
        one.turn()


def on_grid(output: Output, world: World) -> bool:
    """Whether the last frame is stamped with its own instant."""
    _number, stamp_ns, shows = output.sent[-1]
    return shows is not None and stamp_ns + world.ahead_ns == scene.frame_utc_ns(shows)


def rises(output: Output) -> bool:
    pairs = list(zip(output.sent, output.sent[1:], strict=False))
    return all(after[0] > before[0] and after[1] > before[1] for before, after in pairs)


def test_every_frame_at_its_instant(module: ModuleType, world: World, tmp_path: Path):
    one, output = feeder(module, tmp_path)
    turns(one, 60)
    numbers = [number for number, _stamp, _shows in output.sent]
    assert numbers == list(range(60))
    assert on_grid(output, world)
    assert world.now_ns - 5 * 10**9 == pytest.approx(60 * PERIOD_NS, abs=PERIOD_NS)


def test_a_late_frame_is_a_gap(module: ModuleType, world: World, tmp_path: Path):
    one, output = feeder(module, tmp_path)
    turns(one, 3)
    world.oversleep_ns = 3 * PERIOD_NS + PERIOD_NS // 2
    turns(one, 3)
    assert one.late == 4
    assert [number for number, _stamp, _shows in output.sent] == [0, 1, 2, 7, 8]
    assert on_grid(output, world)


@pytest.mark.parametrize("step_ns", [7_000_000, -7_000_000, 3_600 * 10**9, -3_600 * 10**9, 10_000_000_000_000])
def test_after_a_step_of_the_clock_it_finds_the_grid_again(
    module: ModuleType, world: World, tmp_path: Path, step_ns: int
):
    one, output = feeder(module, tmp_path)
    turns(one, 10)
    world.ahead_ns += step_ns
    turns(one, 10)
    assert one.steps == 1
    assert len(output.sent) == 20
    assert rises(output)
    assert on_grid(output, world)
    stamps = [stamp for _number, stamp, _shows in output.sent]
    assert min(np.diff(stamps)) >= PERIOD_NS // 2 - 1


def test_a_change_is_taken_from_its_frame_on(module: ModuleType, world: World, tmp_path: Path):
    one, output = feeder(module, tmp_path)
    turns(one, 2)
    dark = one.frame + 5
    (tmp_path / "optics.json").write_text(scene.to_json([Change(0, Scene()), Change(dark, Scene(covered=True))]))
    turns(one, 8)
    assert [shows is None for _number, _stamp, shows in output.sent] == [False] * 7 + [True] * 3


def test_a_damaged_file_is_told_once_and_what_was_seen_stays(
    module: ModuleType, world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    one, output = feeder(module, tmp_path)
    (tmp_path / "optics.json").write_text(scene.to_json([Change(0, Scene(covered=True))]))
    turns(one, 2)
    (tmp_path / "new").write_text("{")
    (tmp_path / "new").rename(tmp_path / "optics.json")
    turns(one, 3)
    assert capsys.readouterr().out.count("is not used") == 1
    assert [shows for _number, _stamp, shows in output.sent] == [None] * 5
