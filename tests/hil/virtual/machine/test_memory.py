"""Registers in another process's memfd."""

from __future__ import annotations

import mmap
import os

import pytest

from hil.virtual.machine.memory import MappedRegisters
from hil.virtual.machine.qemu import MEM_MIB, RAM_START, REGISTERS_ADDRESS
from touchline.errors import HardwareError


@pytest.fixture
def ram():
    """A guest's memory as QEMU holds it, here held by this process."""
    fd = os.memfd_create("memory-backend-memfd")
    os.ftruncate(fd, MEM_MIB << 20)
    yield fd
    os.close(fd)


def test_a_register_is_a_little_endian_word_at_its_physical_address(ram):
    registers = MappedRegisters(os.getpid())
    registers.write32(0x10200, 0x1234_5678)
    with mmap.mmap(ram, 0) as seen:
        at = REGISTERS_ADDRESS - RAM_START + 0x10200
        assert seen[at : at + 4] == bytes.fromhex("78563412")
        seen[at : at + 4] = b"\xff\xff\xff\xff"
    assert registers.read32(0x10200) == 0xFFFF_FFFF
    assert registers.read32(0xFFFFC) == 0
    registers.close()


@pytest.mark.parametrize("offset", [-4, 2, 0x100000])
def test_an_offset_beside_the_words_is_a_fault(ram, offset):
    registers = MappedRegisters(os.getpid())
    with pytest.raises(ValueError, match="is not one of the megabyte's words"):
        registers.read32(offset)
    with pytest.raises(ValueError, match="does not fit"):
        registers.write32(0, 1 << 32)
    registers.close()


def test_a_guest_too_small_is_told():
    fd = os.memfd_create("memory-backend-memfd")
    os.ftruncate(fd, 1024 << 20)
    try:
        with pytest.raises(HardwareError, match="no memory at 0x9ff00000 — mem_mib must be 1536"):
            MappedRegisters(os.getpid())
    finally:
        os.close(fd)


def test_a_process_without_guest_memory_is_told():
    with pytest.raises(HardwareError, match="in no memfd"):
        MappedRegisters(os.getpid())
