"""Which modules come along."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hil.virtual.image.closure import ModuleTable, module_name
from touchline.errors import InputError

_DEP = """kernel/fs/ext4/ext4.ko.xz: kernel/lib/crc16.ko.xz kernel/fs/jbd2/jbd2.ko.xz kernel/fs/mbcache.ko.xz
kernel/fs/jbd2/jbd2.ko.xz:
kernel/fs/mbcache.ko.xz:
kernel/lib/crc16.ko.xz:
kernel/crypto/crc32c_generic.ko.xz:
kernel/drivers/i2c/i2c-stub.ko.xz:
"""
_SOFT = "# comment\nsoftdep ext4 pre: crc32c-generic absent post: i2c-stub\n"


def test_names_are_the_kernels():
    assert module_name("kernel/drivers/i2c/i2c-stub.ko.xz") == "i2c_stub"
    assert module_name("kernel/a/b.ko") == "b"


def test_what_a_module_needs_stands_before_it_and_soft_ones_come_along():
    order = ModuleTable.parse(_DEP, _SOFT).closure(["ext4"])
    assert set(order) == {"ext4", "jbd2", "mbcache", "crc16", "crc32c_generic", "i2c_stub"}
    assert all(order.index(name) < order.index("ext4") for name in ("jbd2", "mbcache", "crc16", "crc32c_generic"))


def test_built_in_ones_are_left_out():
    assert ModuleTable.parse(_DEP, "", "kernel/drivers/block/virtio_blk.ko\n").closure(["virtio_blk", "crc16"]) == [
        "crc16"
    ]


def test_every_missing_module_is_named():
    with pytest.raises(InputError, match="no module absent, gone"):
        ModuleTable.parse(_DEP).closure(["gone", "ext4", "absent"])


def test_a_circle_of_soft_dependencies_ends():
    table = ModuleTable.parse("a.ko:\nb.ko:\n", "softdep a post: b\nsoftdep b post: a\n")
    assert sorted(table.closure(["a"])) == ["a", "b"]


@given(st.dictionaries(st.integers(0, 9), st.sets(st.integers(0, 9), max_size=4), max_size=10))
def test_load_order_holds_in_any_tree(above):
    names = {*above, *(one for many in above.values() for one in many)}
    needs = {name: {one for one in above.get(name, ()) if one < name} for name in names}
    text = "".join(f"m{name}.ko: {' '.join(f'm{one}.ko' for one in sorted(needs[name]))}\n" for name in names)
    order = ModuleTable.parse(text).closure([f"m{name}" for name in names])
    assert sorted(order) == sorted(f"m{name}" for name in names)
    for name in names:
        assert all(order.index(f"m{one}") < order.index(f"m{name}") for one in needs[name])
