"""Fuzz the batch parser: whatever the bytes, the answer is a batch or a RecordError. ``--help`` tells the rest.

Half of the inputs get a true magic, layout hash and CRC put back in: a checksum stops plain mutation at the door.
"""

from __future__ import annotations

import io

import atheris
import google_crc32c

from tests.fuzz.run import VECTORS, fuzz

with atheris.instrument_imports(include=["touchline"]):
    from touchline.record import (
        HEADER_BYTES,
        LAYOUT_HASH,
        MAGIC,
        RecordError,
        pack_batch,
        unpack_batch,
    )
    from touchline.record_text import read_batches, record_dict


def repaired(data: bytes) -> bytes:
    """The same bytes with magic, hash and checksum made right, so that mutation reaches what lies behind them."""
    body = bytearray(data.ljust(HEADER_BYTES, b"\0"))
    body[0:4], body[8:16] = MAGIC, LAYOUT_HASH
    crc = google_crc32c.extend(google_crc32c.value(bytes(body[:76])), bytes(body[HEADER_BYTES:]))
    body[76:80] = crc.to_bytes(4, "little")
    return bytes(body)


def check(data: bytes) -> None:
    """One input: parse it; what parses must pack to the same bytes and print."""
    try:
        header, records = unpack_batch(data)
    except RecordError:
        pass
    else:
        assert pack_batch(header, records) == data
        for one in records[:3]:
            record_dict(one)
    try:
        for _ in read_batches(io.BytesIO(data)):
            pass
    except RecordError:
        pass


def one_input(data: bytes) -> None:
    """Entry point that libFuzzer calls."""
    check(repaired(data[1:]) if data[:1] and data[0] & 1 else data[1:])


def main() -> None:
    """Run for a bounded time over the golden vectors' mutations."""
    fuzz("tests.fuzz.record", __doc__ or "", one_input, {"batch": b"\0" + (VECTORS / "batch_v1.tlb").read_bytes()})


if __name__ == "__main__":
    main()
