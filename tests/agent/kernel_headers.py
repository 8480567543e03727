"""What the kernel's own headers say, for this machine and for arm64: a C program against them, built and run."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

MACHINES = {
    "this": (("gcc",), (), "/usr/include"),
    "arm64": (("aarch64-linux-gnu-gcc", "-static"), ("qemu-aarch64-static",), "/usr/aarch64-linux-gnu/include"),
}


def printed(program: str, machine: str, header: str, folder: Path) -> list[str]:
    """The lines that ``program`` prints; skips where ``header`` or a tool for ``machine`` is not installed."""
    compiler, runner, include = MACHINES[machine]
    if not Path(include, header).exists():
        pytest.skip(f"the kernel's user-space headers for {machine} are not installed (linux-libc-dev)")
    for name in [compiler[0], *runner]:
        if shutil.which(name) is None:
            pytest.skip(f"{name} is not installed")
    source, binary = folder / "uapi.c", folder / "uapi"
    source.write_text(program)
    subprocess.run([*compiler, "-Wall", "-o", str(binary), str(source)], check=True)
    return subprocess.run([*runner, str(binary)], check=True, capture_output=True, text=True).stdout.splitlines()
