"""Facts and wishes to rows; pure."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flash.tune.advice import advise, propose
from flash.tune.facts import look
from flash.tune.plan import Row, State, canonical, plan, same
from flash.tune.tree import Tree
from flash.tune.undo import Entry, Refusal, Undo
from tests.flash.tune.machine import BOOT, machine, put
from touchline.config.node import ProcessSection
from touchline.config.tune import TuneSection

NOTHING = Undo(BOOT)
SETS = ProcessSection(capture_cpus=[2, 3], publisher_cpus=[1])


def rows(
    root: Path, tune: TuneSection | None = None, process: ProcessSection = SETS, undo: Undo = NOTHING
) -> dict[str, Row]:
    made = plan(look(Tree(root)), tune or TuneSection(), process, undo)
    return {row.key: row for row in made.rows}


@pytest.fixture
def root(tmp_path):
    return machine(tmp_path)


def test_interrupts_go_where_their_data_is_waited_for(root):
    found = rows(root)
    wanted = {key: row.want for key, row in found.items() if key.startswith("irq/")}
    assert wanted == {
        "irq/50 host1x_syncpt": "2-3",
        "irq/51 15c00000.vi": "2-3",
        "irq/60 6800000.ethernet.vm0": "1",
        "irq/61 eth0.vm1": "1",
        "irq/71 mlx5_comp0@pci:0000:01:00.0": "1",
    }
    assert {row.state for key, row in found.items() if key.startswith("irq/")} == {State.DIFFERS}


def test_cpus_of_the_section_come_before_those_of_the_processes(root):
    found = rows(root, TuneSection(camera_cpus=[7], network_cpus=[8, 9]))
    assert found["irq/51 15c00000.vi"].want == "7"
    assert found["irq/61 eth0.vm1"].want == "8-9"


def test_without_cpu_sets_interrupts_stay_where_they_are(root):
    found = rows(root, process=ProcessSection())
    assert [key for key in found if key.startswith("irq/")] == ["irq/camera", "irq/network"]
    assert "process.capture_cpus" in found["irq/camera"].note
    assert not found["irq/camera"].wrong


def test_cpus_that_are_offline_are_left_out_and_named_when_none_is_left(tmp_path):
    root = machine(tmp_path, online="0-7")
    found = rows(root, TuneSection(camera_cpus=[7, 8], network_cpus=[10]))
    assert found["irq/51 15c00000.vi"].want == "7"
    assert found["irq/network"].note == "CPUs 10 are not online (online: 0-7)"


def test_only_deep_idle_states_are_switched_off(root):
    found = rows(root)
    idle = [row for key, row in found.items() if key.startswith("idle/")]
    assert len(idle) == 12
    assert {(row.now, row.want, row.note) for row in idle} == {("0", "1", "5000 us back")}
    assert len([key for key in rows(root, TuneSection(idle_cpus=[2, 3])) if key.startswith("idle/")]) == 2
    assert not any(key.startswith("idle/") for key in rows(root, TuneSection(idle_latency_us=5000.0)))


def test_a_larger_buffer_is_left_alone(root):
    assert rows(root)["net.core.rmem_max"].want == "16777216"
    put(root, "/proc/sys/net/core/rmem_max", "33554432")
    row = rows(root)["net.core.rmem_max"]
    assert (row.state, row.want) == (State.SAME, "33554432")


def test_the_default_buffer_only_where_asked(root):
    assert "net.core.rmem_default" not in rows(root)
    assert rows(root, TuneSection(rmem_default="1MiB"))["net.core.rmem_default"].want == "1048576"


def test_off_is_off(root):
    assert rows(root, TuneSection(irq="off", idle="off", buffers="off")) == {}


def test_a_required_thing_that_is_absent_is_wrong(tmp_path):
    made = plan(look(Tree(tmp_path)), TuneSection(irq="required", idle="required"), SETS, NOTHING)
    assert {row.key for row in made.missing} == {"irq/camera", "irq/network", "idle", "net.core.rmem_max"}
    assert made.wrong == made.missing
    relaxed = plan(look(Tree(tmp_path)), TuneSection(buffers="auto"), SETS, NOTHING)
    assert (relaxed.missing, relaxed.wrong, len(relaxed.rows)) == ([], [], 4)


def test_irqbalance_is_named_and_wrong_only_where_interrupts_are_set(root):
    put(root, "/proc/812/comm", "irqbalance")
    row = rows(root)["irqbalance"]
    assert (row.state, row.wrong, row.to_write) == (State.FOREIGN, True, False)
    assert "irqbalance" not in rows(root, TuneSection(irq="off"))
    assert "irqbalance" not in rows(root, process=ProcessSection())


def test_what_was_refused_before_is_known_and_wrong_only_where_required(root):
    undo = Undo(BOOT, {}, {"irq/71 mlx5_comp0@pci:0000:01:00.0": Refusal("1", "the kernel refuses it (EINVAL)")})
    row = rows(root, undo=undo)["irq/71 mlx5_comp0@pci:0000:01:00.0"]
    assert (row.state, row.wrong, row.note) == (State.REFUSED, False, "the kernel refuses it (EINVAL)")
    required = rows(root, TuneSection(irq="required"), undo=undo)["irq/71 mlx5_comp0@pci:0000:01:00.0"]
    assert required.wrong
    other = rows(root, TuneSection(network_cpus=[5]), undo=undo)["irq/71 mlx5_comp0@pci:0000:01:00.0"]
    assert other.state is State.DIFFERS


def test_what_is_no_longer_wanted_goes_back(root):
    put(root, "/sys/devices/system/cpu/cpu3/cpuidle/state1/disable", "1")
    entry = Entry("/sys/devices/system/cpu/cpu3/cpuidle/state1/disable", "number", "0")
    undo = Undo(BOOT, {"idle/cpu3/state1 c7": entry, "irq/99 gone": Entry("/proc/irq/99/x", "cpus", "0")})
    found = rows(root, TuneSection(idle="off", irq="off", buffers="off"), undo=undo)
    assert {key: (row.state, row.now, row.want) for key, row in found.items()} == {
        "idle/cpu3/state1 c7": (State.RESTORE, "1", "0")
    }


def test_clocks_belong_to_the_thermal_room(root):
    made = plan(look(Tree(root)), TuneSection(), SETS, NOTHING)
    assert "governor schedutil" in made.advice[0]
    assert not any("cpufreq" in row.path for row in made.rows)


@pytest.mark.parametrize(
    ("kind", "left", "right", "expected"),
    [
        ("cpus", "0,1,2,3", "0-3", True),
        ("cpus", "0-3", "0-2", False),
        ("number", "0016", "16\n", True),
        ("number", "16", "17", False),
        ("number", "[always]", "[always]", True),
        ("cpus", "", "0", False),
    ],
)
def test_the_same_in_other_words(kind, left, right, expected):
    assert same(kind, left, right) is expected


@given(st.frozensets(st.integers(0, 64), min_size=1))
def test_the_canonical_form_is_its_own(cpus):
    text = canonical("cpus", ",".join(map(str, cpus)))
    assert canonical("cpus", text) == text


# --- advice -------------------------------------------------------------------------------------------------------


@given(st.frozensets(st.integers(0, 63), max_size=32), st.integers(1, 16))
def test_a_proposal_gives_each_its_own_cpus(online, cameras):
    sets = propose(online, cameras)
    if sets is None:
        assert len(online) < 4
        return
    capture, inference, publisher = (set(sets[f"{name}_cpus"]) for name in ("capture", "inference", "publisher"))
    assert capture and inference and publisher
    assert capture | inference | publisher <= online
    assert not capture & inference and not capture & publisher and not inference & publisher
    assert min(online) not in capture | inference


def test_an_orin_with_four_cameras():
    assert propose(frozenset(range(12)), 4) == {
        "publisher_cpus": [1],
        "capture_cpus": [2, 3],
        "inference_cpus": [4, 5, 6, 7, 8, 9, 10, 11],
    }


@pytest.mark.parametrize(
    ("process", "words"),
    [
        (ProcessSection(capture_cpus=[14]), "capture_cpus names CPU 14, and this machine has 0-11"),
        (ProcessSection(inference_cpus=[9]), "inference_cpus: CPU 9 is offline"),
        (ProcessSection(capture_cpus=[2], inference_cpus=[2, 3]), "capture and inference share CPU 2"),
        (ProcessSection(capture_cpus=[0]), "capture uses CPU 0"),
        (ProcessSection(capture_cpus=[0]), "also serve 6 interrupts that are no camera's: arch_timer, "),
        (ProcessSection(), "for 2 cameras here: capture_cpus = [2], inference_cpus = [3, 4, 5, 6, 7]"),
    ],
)
def test_advice(tmp_path, process, words):
    facts = look(Tree(machine(tmp_path, online="0-7")))
    assert any(words in line for line in advise(facts, TuneSection(), process, 2))


def test_no_advice_for_a_node_that_is_set_up(root):
    for number in (14, 50, 51, 60, 61, 70, 71, 80):
        put(root, f"/proc/irq/{number}/effective_affinity_list", "1")
    process = ProcessSection(capture_cpus=[2, 3], publisher_cpus=[1], inference_cpus=[4, 5])
    assert advise(look(Tree(root)), TuneSection(), process, 2) == ()
