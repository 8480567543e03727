"""The one definition of the ring's memory agrees with itself."""

from __future__ import annotations

import mmap

import pytest

from agent.ring import RingSpec, layout
from agent.ring.memory import HUGE_PAGE_BYTES


def test_packing_follows_the_slot_definition():
    names = [name for name in layout.SLOT.names or () if name != "stamp"]
    expected = layout.META_OFFSET
    for name, code in zip(names, layout.META.format.lstrip("@"), strict=True):
        assert layout.SLOT.fields is not None
        kind, offset = layout.SLOT.fields[name][:2]
        assert offset == expected
        assert kind.itemsize == {"Q": 8, "I": 4}[code]
        expected += kind.itemsize
    assert layout.META.size + layout.META_OFFSET <= layout.SLOT.itemsize


@pytest.mark.parametrize("record", [layout.IDENTITY, layout.WRITER, layout.READER, layout.SLOT])
def test_fields_are_aligned_and_inside(record):
    end = 0
    for name in record.names:
        kind, offset = record.fields[name][:2]
        assert offset % kind.itemsize == 0
        assert offset >= end
        end = offset + kind.itemsize
    assert end <= record.itemsize


@pytest.mark.parametrize("page_bytes", [mmap.PAGESIZE, HUGE_PAGE_BYTES])
def test_regions_do_not_overlap_and_start_on_pages(page_bytes):
    spec = RingSpec(600, 1_843_200, readers=16)
    control = layout.control_bytes(spec, page_bytes)
    assert layout.slot_table_offset(spec.readers) >= layout.reader_offset(spec.readers - 1) + layout.READER.itemsize
    assert control >= layout.slot_table_offset(spec.readers) + spec.slots * layout.SLOT.itemsize
    assert control % page_bytes == 0
    assert layout.stride_bytes(spec) % mmap.PAGESIZE == 0
    assert layout.total_bytes(spec, page_bytes) >= control + spec.slots * spec.slot_bytes


def test_the_hash_is_of_the_layout_only(monkeypatch):
    before = layout.layout_hash()
    assert before == layout.layout_hash()
    monkeypatch.setattr(layout, "LAYOUT_VERSION", 2)
    assert layout.layout_hash() != before
