"""Batches for spool and publisher tests."""

from __future__ import annotations

from touchline.record import BatchHeader, new_records, pack_batch

BOOT = bytes(range(16))


def batch(
    number: int, records: int = 2, *, node: str = "node-a", boot: bytes = BOOT, first: int | None = None
) -> bytes:
    """Batch ``number`` with ``records`` records whose frame is the batch number."""
    rows = new_records(records)
    rows["frame"] = number
    rows["x_m"] = 0.5 * number
    first_record = number * records if first is None else first
    return pack_batch(BatchHeader(node, boot, 1, number, first_record, records), rows)
