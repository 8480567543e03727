"""The kernel folder: marked, kept out of our process, and edits that fail loudly on a foreign source."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from hil.virtual.image.modules import KBUILD, PATCHER, objects
from hil.virtual.image.recipe import KERNEL_FOLDER

_OURS = {"devices.dtsi", "orin-registers.dtsi"}
_DOCUMENTS = {"README.md", "COPYING"}

_SOURCES = {
    "ptp_mock.c": "spin_lock(&phc->lock);\nspin_unlock(&phc->lock);\nint mock_phc_index(struct mock_phc *phc)\n{\n}\n",
    "v4l2loopback.c": (
        "		b->flags = 0;\n"
        "		if ((!(b->buffer.flags & V4L2_BUF_FLAG_TIMESTAMP_COPY)) &&\n"
        "		    (buf->timestamp.tv_sec == 0 && buf->timestamp.tv_usec == 0))\n"
        "			v4l2l_get_timestamp(&b->buffer);\n"
        "		else {\n"
        "			b->buffer.timestamp = buf->timestamp;\n"
        "			b->buffer.flags |= V4L2_BUF_FLAG_TIMESTAMP_COPY;\n"
        "		}\n"
        "	init_buffers(dev);\n	switch (b->memory) {\n"
    ),
    "irq_sim.c": "	handle_simple_irq(irq_to_desc(irqnum));\n",
    "netdevsim/netdevsim.h": "#include <linux/ptp_mock.h>\n	struct mock_phc *phc;\n",
    "netdevsim/ethtool.c": "	info->phc_index = mock_phc_index(ns->phc);\n",
    "netdevsim/netdev.c": (
        '#include "netdevsim.h"\n'
        "static netdev_tx_t nsim_start_xmit(struct sk_buff *skb, struct net_device *dev)\n{\n"
        "	skb_tx_timestamp(skb);\n}\n"
        "static const struct net_device_ops nsim_netdev_ops = {\n};\n"
    ),
}
_EDITS = {"v4l2loopback": "v4l2loopback.c", "ptp_mock": "ptp_mock.c", "irq_sim": "irq_sim.c", "netdevsim": "netdevsim"}


def patch(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, PATCHER, *map(str, words)], capture_output=True, text=True, check=False)


@pytest.fixture
def sources(tmp_path):
    for name, text in _SOURCES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def texts(folder: Path) -> dict[str, str]:
    return {name: (folder / name).read_text() for name in _SOURCES}


@pytest.mark.parametrize("edit", _EDITS)
def test_an_edit_is_made_once(sources, edit):
    before = texts(sources)
    assert patch(edit, sources / _EDITS[edit]).returncode == 0
    once = texts(sources)
    assert once != before
    assert patch(edit, sources / _EDITS[edit]).returncode == 0
    assert texts(sources) == once


@pytest.mark.parametrize("name", _SOURCES)
def test_a_foreign_source_stops_the_build_with_file_and_pattern(sources, name):
    edit = next(edit for edit, target in _EDITS.items() if name.startswith(target))
    (sources / name).write_text("int other(void);\n")
    done = patch(edit, sources / _EDITS[edit])
    assert done.returncode == 1
    assert str(sources / name) in done.stderr
    assert "expected" in done.stderr


def test_a_pattern_that_stands_twice_is_no_match(sources):
    (sources / "irq_sim.c").write_text(_SOURCES["irq_sim.c"] * 2)
    assert "found 2" in patch("irq_sim", sources / "irq_sim.c").stderr


def test_wrong_calls_and_missing_files():
    assert patch().returncode == 2
    assert patch("nonsense", "x").returncode == 2
    assert patch("irq_sim", "/nonexistent/irq_sim.c").returncode == 1


def test_every_file_says_its_licence_first():
    for path in KERNEL_FOLDER.iterdir():
        if path.is_dir() or path.name in _DOCUMENTS:
            continue
        lines = path.read_text().splitlines()
        line = lines[1] if lines[0].startswith("#!") else lines[0]
        licence = "Apache-2.0" if path.name in _OURS else "GPL-2.0"
        assert line.strip("/*# ") == f"SPDX-License-Identifier: {licence}", path.name


def test_nothing_of_ours_imports_it(repo):
    assert not (KERNEL_FOLDER / "__init__.py").exists()
    rooms = [path.parent for path in repo.glob("*/__init__.py") if path.parent.name != "tests"]
    for path in [file for room in rooms for file in room.rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            assert not any(name.startswith("hil.virtual.kernel") or name == "patch_drivers" for name in names), path


def test_the_kbuild_file_names_what_is_compiled():
    assert objects(KBUILD.read_text()) == {
        "ptp_mock",
        "gpio-sim",
        "ina3221",
        "pwm_tach",
        "ram_i2c",
        "v4l2loopback",
        "netdevsim",
    }
    assert objects("obj-m += a.o b/\nobj-m += c.o\n") == {"a", "b", "c"}
