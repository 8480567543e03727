"""What every benchmark shares: one row per comparison, the machine it ran on, the table and the JSON file."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Row:
    """One figure of ours beside a peer's from the same run.

    ``ratio`` is what ``bar`` speaks about; ``holds`` is None for a row that is only shown.
    """

    what: str
    ours: float
    peer: float | None
    peer_name: str
    unit: str
    ratio: float | None
    bar: str
    holds: bool | None


def machine() -> dict[str, str | int | float]:
    """Return what a reader must know to compare the figures: processor, cores, kernel, Python, load before the run."""
    model = platform.processor() or platform.machine()
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return {
        "processor": model,
        "cores": os.cpu_count() or 1,
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load_1min": round(os.getloadavg()[0], 2),
    }


def report(rows: Sequence[Row], json_path: Path | None) -> bool:
    """Print the table, write the JSON file if one is asked for, and return whether every bar holds."""
    width = max(len(row.what) for row in rows)
    print(f"{'what':<{width}}  {'ours':>10}  {'peer':>10}  {'unit':<9}  {'ratio':>8}  {'holds':<5}  bar / peer")
    for row in rows:
        peer = "-" if row.peer is None else f"{row.peer:.4g}"
        ratio = "-" if row.ratio is None else f"{row.ratio:.3g}"
        holds = {None: "-", True: "yes", False: "NO"}[row.holds]
        print(
            f"{row.what:<{width}}  {row.ours:>10.4g}  {peer:>10}  {row.unit:<9}  {ratio:>8}  {holds:<5}  "
            f"{row.bar} / {row.peer_name}"
        )
    if json_path is not None:
        document = {"machine": machine(), "rows": [asdict(row) for row in rows]}
        json_path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    return all(row.holds is not False for row in rows)
