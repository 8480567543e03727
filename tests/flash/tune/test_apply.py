"""Apply and undo against a kernel with manners: normalised values, refusals, read-only files, a power cut."""

from __future__ import annotations

import errno
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flash.tune.apply import Done, Outcome, apply, check_outcomes, put_back
from flash.tune.facts import look
from flash.tune.plan import plan
from flash.tune.undo import Entry, Refusal, Undo, UndoFile, parse_undo, render
from tests.flash.tune.machine import BOOT, Kernel, machine, put, snapshot
from touchline.config.node import ProcessSection
from touchline.config.tune import TuneSection
from touchline.errors import HardwareError, InputError, ResourceError

SETS = ProcessSection(capture_cpus=[2, 3], publisher_cpus=[1])
CARD = "/proc/irq/71/smp_affinity_list"
CARD_KEY = "irq/71 mlx5_comp0@pci:0000:01:00.0"
RMEM = "/proc/sys/net/core/rmem_max"


class Host:
    """A machine that is tuned as the command does it."""

    def __init__(self, root: Path) -> None:
        self.kernel = Kernel(machine(root))
        self.file = UndoFile(root)
        self.tune = TuneSection()
        self.process = SETS

    def apply(self) -> list[Outcome]:
        facts = look(self.kernel)
        with self.file.alone():
            undo = self.file.load(facts.boot_id)
            return apply(self.kernel, plan(facts, self.tune, self.process, undo), undo, self.file.save)

    def undo(self) -> list[Outcome]:
        facts = look(self.kernel)
        with self.file.alone():
            return put_back(self.kernel, facts, self.file.load(facts.boot_id), self.file.save)

    def done(self, outcomes: list[Outcome]) -> dict[str, Done]:
        return {one.row.key: one.done for one in outcomes}

    @property
    def root(self) -> Path:
        return self.kernel.root


@pytest.fixture
def host(tmp_path):
    return Host(tmp_path)


def test_apply_and_undo_leave_the_machine_as_it_was(host):
    before = snapshot(host.root)
    outcomes = host.apply()
    assert {one.done for one in outcomes} == {Done.CHANGED}
    assert len(outcomes) == 5 + 12 + 1
    assert (host.root / CARD[1:]).read_text() == "1\n"
    assert {one.done for one in host.undo()} == {Done.RESTORED}
    assert snapshot(host.root) == before
    assert not host.file.path.exists()


def test_a_second_apply_writes_nothing_and_leaves_the_undo_file_alone(host):
    host.apply()
    kept, written = host.file.path.stat(), len(host.kernel.written)
    assert {one.done for one in host.apply()} == {Done.UNCHANGED}
    assert len(host.kernel.written) == written
    assert host.file.path.stat().st_mtime_ns == kept.st_mtime_ns
    assert host.file.path.stat().st_ino == kept.st_ino


def test_somebody_elses_change_in_between_does_not_become_the_original(host):
    host.apply()
    put(host.root, RMEM, "4096")
    assert host.done(host.apply())["net.core.rmem_max"] is Done.CHANGED
    host.undo()
    assert (host.root / RMEM[1:]).read_text() == "212992\n"


def test_the_originals_are_on_disk_before_the_first_write(host, monkeypatch):
    seen = []
    true_write = Kernel.write

    def write(self, path, text):
        seen.append((path, host.file.load(BOOT).entries))
        true_write(self, path, text)

    monkeypatch.setattr(Kernel, "write", write)
    host.apply()
    assert all(path in {entry.path for entry in entries.values()} for path, entries in seen)
    assert all(len(entries) == 18 for _, entries in seen)


@pytest.mark.parametrize("writes", range(0, 18, 4))
def test_a_run_that_was_cut_off_can_be_undone(host, monkeypatch, writes):
    before = snapshot(host.root)
    true_write = Kernel.write

    def write(self, path, text):
        if len(self.written) >= writes:
            raise KeyboardInterrupt
        true_write(self, path, text)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Kernel, "write", write)
        host.apply()
    host.undo()
    assert snapshot(host.root) == before


def test_a_refused_value_does_not_stop_the_others_and_is_remembered(host):
    host.kernel.says[CARD] = errno.EINVAL  # DesignWare's PCIe controller: no affinity of its own
    outcomes = host.apply()
    done = host.done(outcomes)
    assert done.pop(CARD_KEY) is Done.REFUSED
    assert set(done.values()) == {Done.CHANGED}
    check_outcomes(outcomes)  # "auto": named, no error
    undo = host.file.load(BOOT)
    assert undo.refused == {CARD_KEY: Refusal("1", "the kernel refuses it (EINVAL)")}
    assert CARD_KEY not in undo.entries
    made = plan(look(host.kernel), host.tune, host.process, undo)
    assert made.wrong == []
    text = host.file.path.read_text()
    host.apply()
    assert host.file.path.read_text() == text


def test_a_refusal_that_is_over_is_forgotten(host):
    host.kernel.says[CARD] = errno.EIO
    host.apply()
    del host.kernel.says[CARD]
    assert host.done(host.apply())[CARD_KEY] is Done.CHANGED
    assert host.file.load(BOOT).refused == {}
    assert host.file.load(BOOT).entries[CARD_KEY].original == "0-11"


def test_a_required_value_that_is_refused_is_an_error_after_all_others_were_set(host):
    host.tune = TuneSection(irq="required")
    host.kernel.says[CARD] = errno.EIO
    outcomes = host.apply()
    with pytest.raises(HardwareError, match=r"irq/71 .* = 1: the kernel refuses it \(EIO\)"):
        check_outcomes(outcomes)
    assert (host.root / RMEM[1:]).read_text() == "16777216\n"


@pytest.mark.parametrize("reason", [errno.EROFS, errno.EPERM, errno.EBUSY])
def test_read_only_and_refused_files(host, reason):
    host.kernel.says[RMEM] = reason
    outcome = next(one for one in host.apply() if one.row.key == "net.core.rmem_max")
    assert (outcome.done, outcome.why) == (Done.REFUSED, f"the kernel refuses it ({errno.errorcode[reason]})")


def test_a_user_without_rights_is_told_to_be_root(host):
    host.kernel.says[RMEM] = errno.EACCES
    with pytest.raises(ResourceError, match="may not be written by this user") as caught:
        host.apply()
    assert "sudo" in caught.value.hint


def test_a_value_that_the_kernel_takes_and_does_not_keep_is_seen(host):
    host.kernel.keeps.add(CARD)
    outcome = next(one for one in host.apply() if one.row.key == CARD_KEY)
    assert (outcome.done, outcome.why) == (Done.REFUSED, "the kernel kept 0-11")


def test_a_value_that_the_kernel_writes_otherwise_is_the_same(host):
    host.process = ProcessSection(capture_cpus=[3, 2], publisher_cpus=[1, 0, 2, 5])
    host.apply()
    assert (host.root / CARD[1:]).read_text() == "0-2,5\n"
    assert Done.CHANGED not in host.done(host.apply()).values()


def test_an_absent_required_thing_refuses_before_anything_is_written(host):
    host.tune = TuneSection(irq="required", network_interrupts=["nothing of this name"], camera_interrupts=["nor this"])
    (host.root / "sys/class/net/eth1/device/msi_irqs/71").unlink()
    before = snapshot(host.root)
    with pytest.raises(HardwareError, match="irq/camera: no line of /proc/interrupts matches"):
        host.apply()
    assert snapshot(host.root) == before
    assert not host.file.path.exists()


def test_what_the_configuration_no_longer_asks_for_goes_back(host):
    before = snapshot(host.root)
    host.apply()
    host.tune = TuneSection(irq="off", idle="off", buffers="off")
    assert set(host.done(host.apply()).values()) == {Done.RESTORED}
    assert snapshot(host.root) == before
    assert not host.file.path.exists()


def test_a_larger_set_of_cpus_keeps_the_first_originals(host):
    host.apply()
    host.process = ProcessSection(capture_cpus=[4], publisher_cpus=[5])
    assert host.done(host.apply())[CARD_KEY] is Done.CHANGED
    assert host.file.load(BOOT).entries[CARD_KEY].original == "0-11"


def test_another_boot_begins_anew(host):
    host.apply()
    put(host.root, "/proc/sys/kernel/random/boot_id", "another")
    for number in (50, 51, 60, 61, 71):
        put(host.root, f"/proc/irq/{number}/smp_affinity_list", "0-5")
    assert host.undo() == []
    assert host.done(host.apply())[CARD_KEY] is Done.CHANGED
    undo = host.file.load("another")
    assert undo.entries[CARD_KEY].original == "0-5"
    assert "net.core.rmem_max" not in undo.entries  # as wanted already in this boot


def test_a_number_that_is_anothers_now_is_left_alone(host):
    host.apply()
    text = (host.root / "proc/interrupts").read_text().replace("eth0.vm1", "nvme1q3")
    put(host.root, "/proc/interrupts", text)
    outcomes = host.undo()
    gone = [one for one in outcomes if one.done is Done.GONE]
    assert [one.row.key for one in gone] == ["irq/61 eth0.vm1"]
    assert (host.root / "proc/irq/61/smp_affinity_list").read_text() == "1\n"
    assert not host.file.path.exists()


def test_an_undo_that_is_refused_stays_for_another_try(host):
    host.apply()
    host.kernel.says[RMEM] = errno.EBUSY
    outcomes = host.undo()
    with pytest.raises(HardwareError, match=r"net.core.rmem_max = 212992: .*EBUSY"):
        check_outcomes(outcomes)
    assert set(host.file.load(BOOT).entries) == {"net.core.rmem_max"}
    host.kernel.says.clear()
    assert [one.done for one in host.undo()] == [Done.RESTORED]


# --- the file -----------------------------------------------------------------------------------------------------

LINES = st.text(st.characters(blacklist_categories=["Cs", "Cc"]), max_size=20)
ENTRIES = st.builds(
    Entry, LINES.map(lambda text: f"/proc/{text.replace('/', '_').replace('..', '')}"), st.just("cpus"), LINES
)
UNDOS = st.builds(
    Undo, LINES, st.dictionaries(LINES, ENTRIES, max_size=4), st.dictionaries(LINES, st.builds(Refusal, LINES, LINES))
)


@given(UNDOS)
def test_an_undo_file_comes_back(undo):
    assert parse_undo(render(undo), "undo.json") == undo


GOOD = render(Undo(BOOT, {"k": Entry("/sys/a", "number", "0")}, {"r": Refusal("1", "no")}))


@given(st.integers(0, len(GOOD) - 1), st.characters(blacklist_categories=["Cs"]))
def test_a_damaged_file_is_refused_or_still_one(index, letter):
    try:
        parse_undo(GOOD[:index] + letter + GOOD[index + 1 :], "undo.json")
    except InputError as error:
        assert "a reboot sets everything back" in error.hint


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "null",
        '{"version": 2}',
        GOOD.replace("/sys/a", "/etc/passwd"),
        GOOD.replace("/sys/a", "/sys/../etc/shadow"),
        GOOD.replace('"number"', '"text"'),
        GOOD[:-20],
        "[" * 100_000,
    ],
)
def test_no_undo_files(text):
    with pytest.raises(InputError, match=r"undo\.json"):
        parse_undo(text, "undo.json")


def test_a_damaged_undo_file_is_never_overwritten(host):
    host.apply()
    host.file.path.write_text("{")
    with pytest.raises(InputError, match="damaged"):
        host.apply()
    assert host.file.path.read_text() == "{"
    host.file.path.write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="no text"):
        host.undo()


def test_a_killed_write_leaves_the_old_file(host):
    host.apply()
    before = host.file.path.read_text()
    host.file.path.with_name(".undo.json.new").write_text("half")
    assert replace(host.file).load(BOOT).entries
    assert host.file.path.read_text() == before
    host.process = ProcessSection(capture_cpus=[2], publisher_cpus=[1], inference_cpus=[5])
    host.apply()


def test_one_run_at_a_time(host):
    with host.file.alone(), pytest.raises(ResourceError, match="at work"):
        host.apply()
