"""Tiny bundles: wheels of a few bytes, and a tree that looks like a node's system."""

from __future__ import annotations

import shutil
import struct
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from flash.bundle.create import describe, system_files
from flash.bundle.lock import Target
from flash.bundle.manifest import NAME, Manifest
from flash.bundle.node import system
from flash.bundle.node.place import ENABLED

REPO = Path(__file__).resolve().parents[3]
PYTHON = f"{sys.version_info[0]}.{sys.version_info[1]}"  # ours, so that the bytecode can be compiled here
AARCH64, X86_64 = 183, 62

# What we use of PyPA's installer, so that unit tests need no package index; the system test runs the real one.
TOOL = {
    "installer/__init__.py": (
        "def install(source, destination, additional_metadata):\n"
        "    source.extractall(destination.scheme['purelib'])\n"
        "    for name in source.namelist():\n"
        "        if name.endswith('cli.py'):\n"
        "            destination.script()\n"
    ),
    "installer/destinations.py": (
        "import pathlib\n"
        "class SchemeDictionaryDestination:\n"
        "    def __init__(self, scheme, interpreter, script_kind):\n"
        "        self.scheme, self.interpreter = scheme, interpreter\n"
        "    def script(self):\n"
        "        pathlib.Path(self.scheme['scripts'], 'touchline').write_text(f'#!{self.interpreter}\\n')\n"
    ),
    "installer/sources.py": "import zipfile\nclass WheelFile:\n    open = staticmethod(zipfile.ZipFile)\n",
}


def wheel(folder: Path, name: str, files: dict[str, str]) -> Path:
    """A wheel with these files."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for inner, text in files.items():
            archive.writestr(zipfile.ZipInfo(inner, (2020, 2, 2, 0, 0, 0)), text)
    return path


def inputs(folder: Path, word: str = "one") -> dict[str, Path]:
    """Sources of a bundle; ``word`` makes one different from another."""
    own = wheel(folder, "touchline-0.1.0", {"touchline/__init__.py": f"word = {word!r}\n", "touchline/cli.py": ""})
    other = wheel(folder, "other-1.0", {"other/__init__.py": "", "other/tests/test_other.py": "assert True\n"})
    tool = wheel(folder, "installer-1.1.0", TOOL)
    sources = {f"wheels/{own.name}": own, f"wheels/{other.name}": other, f"tools/{tool.name}": tool}
    sources["install.py"] = REPO / "flash" / "bundle" / "install.py"
    return sources | system_files(REPO / "systemd")


def bundle(folder: Path, word: str = "one", arch: str = "aarch64", python: str = PYTHON) -> tuple[Path, Manifest]:
    """An unpacked bundle."""
    sources = inputs(folder / "inputs", word)
    manifest = describe(sources, Target(arch, python), "node")
    unpacked = folder / manifest.folder
    for path, source in sources.items():
        (unpacked / path).parent.mkdir(parents=True, exist_ok=True)
        (unpacked / path).write_bytes(source.read_bytes())
    (unpacked / NAME).write_bytes(manifest.to_json())
    return unpacked, manifest


def elf(path: Path, machine: int) -> None:
    """A file that begins as a program for ``machine`` does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack("<HH", 3, machine) + bytes(44))


def system_tree(root: Path, machine: int = AARCH64, python: str = PYTHON) -> Path:
    """The tree of a node: an interpreter behind a link, a table of users."""
    elf(root / f"usr/bin/python{python}", machine)
    (root / "usr/bin/python3").symlink_to(f"python{python}")
    (root / "etc").mkdir()
    (root / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\n")
    return root


class Tools:
    """Stands in for systemd's programs: notes each command line and does to the tree what the program would."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.calls: list[tuple[str, ...]] = []
        self.fail_at = ""

    def __call__(self, argv: Sequence[str]) -> None:
        """Run one."""
        self.calls.append(tuple(argv))
        if self.fail_at and self.fail_at in argv[0]:
            raise KeyboardInterrupt
        if argv[0] == "systemd-sysusers":
            with (self.root / "etc/passwd").open("a") as table:
                table.write("touchline:x:997:997::/:/usr/sbin/nologin\n")
        if argv[0] == "systemctl" and "enable" in argv:
            for unit, by in ENABLED.items():
                link = self.root / "etc/systemd/system" / f"{by}.wants" / unit
                link.parent.mkdir(parents=True, exist_ok=True)
                link.unlink(missing_ok=True)
                link.symlink_to(f"/usr/local/lib/systemd/system/{unit}")


def programs(monkeypatch: pytest.MonkeyPatch, root: Path) -> Tools:
    """Put :class:`Tools` in place of systemd's programs."""
    tools = Tools(root)
    monkeypatch.setattr(system, "call", tools)
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    return tools
