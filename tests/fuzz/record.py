"""Fuzz the batch parser: whatever the bytes, the answer is a batch or a RecordError. ``--help`` tells the rest.

Half of the inputs get a true magic, layout hash and CRC put back in: a checksum stops plain mutation at the door.
"""

from __future__ import annotations

import argparse
import io
import sys
from pathlib import Path

import atheris
import google_crc32c

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

VECTORS = Path(__file__).parents[1] / "vectors"


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
    parser = argparse.ArgumentParser(description=__doc__, epilog="example: python -m tests.fuzz.record --seconds 60")
    parser.add_argument("--seconds", type=int, default=30, help="stop after so long (default 30)")
    parser.add_argument("--corpus", type=Path, default=None, help="folder that keeps interesting inputs")
    arguments = parser.parse_args()
    fuzz = [sys.argv[0], f"-max_total_time={arguments.seconds}", "-max_len=1200", "-print_final_stats=1"]
    if arguments.corpus:
        arguments.corpus.mkdir(parents=True, exist_ok=True)
        (arguments.corpus / "golden").write_bytes(b"\0" + (VECTORS / "batch_v1.tlb").read_bytes())
        fuzz.append(str(arguments.corpus))
    atheris.Setup(fuzz, one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
