"""Memory that is not there, cannot be locked or has no huge pages: said in one line, before it is touched."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import resource
from pathlib import Path

import pytest

from agent.ring import Ring, RingSpec, memory
from agent.ring.fence import choose
from touchline.errors import ConfigError, ResourceError


def refuse_lock(*_):
    return OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))


def test_a_ring_larger_than_the_memory_is_refused_before_it_exists(monkeypatch):
    monkeypatch.setattr(memory, "open_memfd", lambda *_, **__: pytest.fail("touched"))
    spec = RingSpec(10_000_000, 1_843_200)
    with pytest.raises(ResourceError, match=r"18\d{3}\.\d+ GB.*available") as caught:
        Ring.create(spec)
    assert "lower ring.slots to at most" in caught.value.hint
    assert caught.value.exit_code == 5


def test_the_hint_is_a_number_of_slots_that_fits():
    with pytest.raises(ResourceError, match="at most 30 "):
        memory.check_room(needed_bytes=1000, slots=100, available=300)
    memory.check_room(needed_bytes=300, slots=100, available=300)


def test_a_cgroup_limit_counts_as_the_memory(monkeypatch):
    monkeypatch.setattr(memory, "_cgroup_rooms", lambda: [4096])
    assert memory.available_bytes() == 4096
    with pytest.raises(ResourceError, match="available"):
        Ring.create(RingSpec(8, 4096), lock="off")


def test_required_lock_names_the_limit_the_need_and_the_fix(monkeypatch):
    monkeypatch.setattr(memory, "lock_memory", refuse_lock)
    monkeypatch.setattr(resource, "getrlimit", lambda _: (8 * 2**20, 8 * 2**20))
    with pytest.raises(ResourceError) as caught:
        Ring.create(RingSpec(16, 2**20), lock="required")
    text = str(caught.value)
    for part in ("16781312 bytes", "RLIMIT_MEMLOCK is 8388608 bytes", "LimitMEMLOCK=infinity", "CAP_IPC_LOCK"):
        assert part in text
    assert "at most 7 fit" in text


def test_auto_lock_falls_back_and_says_so(monkeypatch, caplog):
    monkeypatch.setattr(memory, "lock_memory", refuse_lock)
    ring = Ring.create(RingSpec(4, 64), lock="auto")
    assert not ring.locked
    assert any("not locked" in note for note in ring.notes)
    assert "not locked" in ring.describe(120)
    assert "not locked" in caplog.text
    ring.close()


def test_lock_off_does_not_try(monkeypatch):
    monkeypatch.setattr(memory, "lock_memory", lambda *_: pytest.fail("tried"))
    ring = Ring.create(RingSpec(4, 64), lock="off")
    assert (ring.locked, ring.notes) == (False, ())
    ring.close()


def test_a_small_ring_is_locked_within_the_default_limit():
    ring = Ring.create(RingSpec(4, 64), lock="required")
    assert ring.locked
    locked = [line for line in Path("/proc/self/smaps").read_text().splitlines() if line.startswith("VmFlags")]
    assert any(" lo" in line for line in locked)
    ring.close()


def test_an_unknown_policy_is_refused():
    with pytest.raises(ConfigError, match=r"ring\.lock"):
        Ring.create(RingSpec(4, 64), lock="maybe")  # type: ignore[arg-type]


def test_without_huge_pages_small_ones_are_used_and_it_says_so(monkeypatch):
    monkeypatch.setattr(memory, "free_huge_pages", lambda: 0)
    ring = Ring.create(RingSpec(4, 64), lock="off", hugepages=True)
    assert ring.page_bytes == 4096 or ring.page_bytes == os.sysconf("SC_PAGESIZE")
    assert "no huge pages: 2 of 2 MiB needed, 0 free (sysctl vm.nr_hugepages=2)" in ring.notes[0]
    ring.close()


def test_huge_pages_are_used_where_there_are_enough():
    spec = RingSpec(4, 64)
    if memory.free_huge_pages() < 2:
        pytest.skip("this machine has no free 2 MiB pages (sysctl vm.nr_hugepages=2)")
    ring = Ring.create(spec, lock="off", hugepages=True)
    assert ring.page_bytes == memory.HUGE_PAGE_BYTES
    assert "2 MiB pages" in ring.describe(120)
    ring.close()


def test_the_file_is_sealed_and_close_on_exec():
    ring = Ring.create(RingSpec(4, 64), lock="off")
    memfd = ring.fds().memfd
    assert fcntl.fcntl(memfd, fcntl.F_GET_SEALS) & memory.SEALS == memory.SEALS
    assert not os.get_inheritable(memfd)
    with pytest.raises(PermissionError):
        os.ftruncate(memfd, 0)
    ring.close()


def memory_files() -> list[str]:
    """Those that this process has open; what else it has, another thread may be closing."""
    links = []
    for path in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            links.append(str(path.readlink()))
    return sorted(link for link in links if "memfd" in link)


def test_a_failed_create_leaves_no_descriptor(monkeypatch):
    before = memory_files()
    monkeypatch.setattr(memory, "lock_memory", refuse_lock)
    for _ in range(3):
        with pytest.raises(ResourceError):
            Ring.create(RingSpec(4, 64), lock="required")
    assert memory_files() == before


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_every_machine_has_a_fence(machine):
    choose(machine)()


def test_without_libatomic_the_scheduler_is_the_fence(monkeypatch):
    def missing(_):
        raise OSError("no such library")

    monkeypatch.setattr("agent.ring.fence.ctypes.CDLL", missing)
    assert choose("aarch64") is os.sched_yield
