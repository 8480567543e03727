"""Our structures and numbers against those of <linux/videodev2.h>, by a compiled C program."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.camera.v4l2 import requests, uapi
from tests.agent.kernel_headers import MACHINES, printed

STRUCTURES = {name: value for name, value in vars(uapi).items() if name.startswith(("v4l2_", "time"))}
NUMBERS = {
    name: value
    for module in (uapi, requests)
    for name, value in vars(module).items()
    if name.startswith(("V4L2_", "VIDEO_", "VIDIOC_"))
}


def members(kind: type[ctypes.Structure] | type[ctypes.Union], prefix: str = "") -> Iterator[tuple[str, int, int]]:
    """(C name, offset, bytes) of each member, those of nested structures and unions too."""
    for name, of_type, *_ in kind._fields_:
        place = getattr(kind, name)
        anonymous = name in getattr(kind, "_anonymous_", ())
        if not anonymous:
            yield prefix + name, place.offset, ctypes.sizeof(of_type)
        if issubclass(of_type, ctypes.Structure | ctypes.Union):
            for inner, offset, size in members(of_type, prefix if anonymous else f"{prefix}{name}."):
                yield inner, place.offset + offset, size


def ours() -> list[str]:
    lines = [f"{name} = {value:#x}" for name, value in NUMBERS.items()]
    for name, kind in STRUCTURES.items():
        lines.append(f"{name}: {ctypes.sizeof(kind)}")
        lines += [f"{name}.{member} @ {offset} + {size}" for member, offset, size in members(kind)]
    return lines


def program() -> str:
    body = [f'printf("{name} = %#lx\\n", (unsigned long)(unsigned int){name});' for name in NUMBERS]
    for name, kind in STRUCTURES.items():
        body.append(f'printf("{name}: %zu\\n", sizeof(struct {name}));')
        for member, _, _ in members(kind):
            where, size = f"offsetof(struct {name}, {member})", f"sizeof(((struct {name} *)0)->{member})"
            body.append(f'printf("{name}.{member} @ %zu + %zu\\n", {where}, {size});')
    includes = "#include <linux/videodev2.h>\n#include <stddef.h>\n#include <stdio.h>\n#include <sys/time.h>\n"
    return f"{includes}int main(void) {{\n" + "\n".join(body) + "\nreturn 0; }\n"


@pytest.mark.system
@pytest.mark.parametrize("machine", MACHINES)
def test_layouts_and_numbers_are_the_kernels_own(machine: str, tmp_path: Path):
    theirs = printed(program(), machine, "linux/videodev2.h", tmp_path)
    assert theirs == [line.replace(" = 0x0", " = 0") for line in ours()]
    assert len(STRUCTURES) > 20
    assert len(NUMBERS) > 60


def test_pixel_formats_by_name():
    assert uapi.fourcc("YUYV") == 0x56595559
    assert uapi.fourcc_text(uapi.fourcc("RG10")) == "RG10"
    assert uapi.fourcc_text(uapi.fourcc("Y16 ")) == "Y16"
    assert uapi.fourcc_text(0x01FF) == "...."
