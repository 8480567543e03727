"""Steps: made once, whole or not at all, by one build at a time."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hil.virtual.image.steps import CACHED, DONE, FAILED, STARTED, Steps, discard, only_build
from tests.hil.virtual.image.fakes import Events
from touchline.errors import ResourceError

KEY, OTHER, THIRD = "a" * 64, "b" * 64, "c" * 64


def make(steps: Steps, key: str = KEY, text: str = "made") -> str:
    return (steps.make("root", key, lambda folder: write(folder, text)) / "file").read_text()


def write(folder: Path, text: str) -> None:
    (folder / "file").write_text(text)


def test_the_second_time_nothing_is_made(tmp_path):
    events = Events()
    assert make(Steps(tmp_path, events)) == "made"
    assert make(Steps(tmp_path, events), text="again") == "made"
    assert events.states("root") == [STARTED, DONE, CACHED]


def test_other_inputs_and_force_make_it_again(tmp_path):
    make(Steps(tmp_path, Events()))
    assert make(Steps(tmp_path, Events()), OTHER, "other") == "other"
    assert make(Steps(tmp_path, Events(), force=True), text="forced") == "forced"
    assert not Steps(tmp_path, Events(), force=True).has("root", KEY)


def test_a_crash_in_the_middle_leaves_nothing_that_counts_and_the_next_build_makes_it(tmp_path):
    events = Events()

    def crash(folder):
        write(folder, "half")
        raise RuntimeError("pulled the plug")

    steps = Steps(tmp_path, events)
    with pytest.raises(RuntimeError):
        steps.make("root", KEY, crash)
    assert events.states("root") == [STARTED, FAILED]
    assert events[-1].text == "pulled the plug"
    assert not steps.has("root")
    assert make(Steps(tmp_path, events)) == "made"
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"root-{KEY[:16]}"]


def test_a_process_killed_in_the_middle_too(tmp_path):
    code = (
        "import os, sys; from pathlib import Path; from hil.virtual.image.steps import Steps\n"
        "def work(folder): (folder / 'file').write_text('half'); os._exit(9)\n"
        f"Steps(Path(sys.argv[1]), lambda e: None).make('root', '{KEY}', work)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False).returncode == 9
    assert make(Steps(tmp_path, Events())) == "made"


def test_sweep_takes_leftovers_only(tmp_path):
    make(Steps(tmp_path, Events()))
    for name in (f".root-{OTHER[:16]}.part", f".root-{OTHER[:16]}.gone", f"root-{THIRD[:16]}.part"):
        (tmp_path / name / "deep").mkdir(parents=True)
    Steps(tmp_path, Events()).sweep()
    assert [path.name for path in tmp_path.iterdir()] == [f"root-{KEY[:16]}"]


def test_a_half_deleted_step_does_not_count(tmp_path, monkeypatch):
    make(Steps(tmp_path, Events()))

    def cut_off(_path):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("shutil.rmtree", cut_off)
        with pytest.raises(KeyboardInterrupt):
            discard(tmp_path / f"root-{KEY[:16]}")
    assert not Steps(tmp_path, Events()).has("root")
    assert make(Steps(tmp_path, Events()), text="anew") == "anew"


def test_tidy_keeps_the_last_used_of_each_name(tmp_path):
    first = Steps(tmp_path, Events())
    for age, key in enumerate((THIRD, OTHER, KEY)):
        folder = first.make("root", key, lambda folder: write(folder, ""))
        os.utime(folder, (age, age))
    first.make("custom-kernel", KEY, lambda folder: write(folder, ""))
    second = Steps(tmp_path, Events())
    second.make("root", OTHER, lambda folder: write(folder, ""))
    second.tidy(2)
    kept = {f"custom-kernel-{KEY[:16]}", f"root-{KEY[:16]}", f"root-{OTHER[:16]}"}
    assert {path.name for path in tmp_path.iterdir()} == kept
    second.tidy(1)
    assert {path.name for path in tmp_path.iterdir()} == kept - {f"root-{KEY[:16]}"}


def test_newest_and_find(tmp_path):
    steps = Steps(tmp_path, Events())
    assert steps.newest("root") is None
    folder = steps.make("root", KEY, lambda folder: write(folder, ""))
    os.utime(folder, (1, 1))
    assert steps.newest("root") == folder
    assert steps.find("root", KEY) == folder
    assert steps.find("root", OTHER) is None


def test_an_outcome_can_say_cached(tmp_path):
    events = Events()
    with Steps(tmp_path, events).timed("bundle") as outcome:
        outcome.state, outcome.text = CACHED, "as before"
    assert (events[-1].state, events[-1].text) == (CACHED, "as before")


def test_discard_takes_files_links_folders_and_nothing(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "folder").mkdir()
    for name in ("link", "file", "folder", "absent"):
        discard(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_second_build_is_told_who_works(tmp_path):
    with (
        only_build(tmp_path / "cache"),
        pytest.raises(ResourceError, match=rf"another build \(pid {os.getpid()}\)"),
        only_build(tmp_path / "cache"),
    ):
        pass
    with only_build(tmp_path / "cache"):
        pass
