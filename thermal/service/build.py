"""The service of a node from its configuration."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from thermal.aside import Aside
from thermal.control import Settings
from thermal.service.history import HistoryWriter
from thermal.service.service import Setup, ThermalService
from thermal.status import status_path
from thermal.sysfs.board import SysfsBoard
from thermal.sysfs.files import RealFiles
from thermal.sysfs.power_mode import PowerMode, mode_trouble
from thermal.vendor import Vendor

if TYPE_CHECKING:
    from touchline.config import NodeConfig
    from touchline.config.thermal import ThermalSection

MEMORY: Final = "thermal-clocks.json"


def open_service(
    config: NodeConfig, section: ThermalSection, root: Path, run_dir: Path, history: Path | None
) -> ThermalService:
    """``root``: where the kernel's files lie; ``run_dir``: status and memory of clocks; ``history``: a folder."""
    run_dir.mkdir(parents=True, exist_ok=True)
    files = RealFiles(root)
    board = SysfsBoard(files, Vendor(), run_dir / MEMORY)
    setup = Setup(
        node=config.node.name,
        status=status_path(run_dir),
        history=None if history is None else HistoryWriter(history),
        mode_trouble=PowerMode(Aside("thermal-mode", lambda: mode_trouble(files))).trouble,
    )
    return ThermalService(Settings.from_section(section), board, setup)
