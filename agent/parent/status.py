"""The status file: what ``touchline agent status`` shows, written whole or not at all."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import Any, Final

from agent.parent.health import NodeView
from touchline.config import NodeConfig
from touchline.errors import InputError, ResourceError

_LOG: Final = logging.getLogger("agent")


def status_file(run_dir: Path) -> Path:
    """Where an agent with this ``node.run_dir`` writes its status."""
    return run_dir / "agent-status.json"


def last_status(run_dir: Path) -> dict[str, Any]:
    """What the agent said last; empty when it has said nothing that can be read."""
    try:
        document = json.loads(status_file(run_dir).read_text())
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}


def prepare_folders(config: NodeConfig) -> None:
    """Make run and spool folder. Raises ResourceError naming the folder that cannot be had."""
    for key, folder in (("node.run_dir", config.node.run_dir), ("publish.spool_dir", config.publish.spool_dir)):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ResourceError(
                f"{key} {folder} cannot be used: {error.strerror}", hint="name a folder that the agent's user can write"
            ) from error


def write_status(config: NodeConfig, view: NodeView) -> None:
    """Replace the status file; a full tmpfs is a warning, the metrics page still answers."""
    path = status_file(config.node.run_dir)
    fresh = path.with_suffix(".new")
    try:
        fresh.write_text(json.dumps({**view.document(), "clock": view.clock_document()}))
        fresh.replace(path)
    except OSError as error:
        _LOG.warning("status file %s: %s", path, error.strerror)


def read_status(config: NodeConfig) -> tuple[dict[str, Any], bool]:
    """The last status, and whether the agent that wrote it still runs. Raises InputError when there is none."""
    document = last_status(config.node.run_dir)
    if not isinstance(document.get("pid"), int):
        path = status_file(config.node.run_dir)
        raise InputError(f"{path} is no status", hint="start the agent: touchline agent run --config FILE")
    return document, document["state"] != "stopped" and _alive(document["pid"])


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's process: it exists
        return True
    return True
