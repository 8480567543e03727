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


def status_file(config: NodeConfig) -> Path:
    """Where the agent writes its status."""
    return config.node.run_dir / "agent-status.json"


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
    path = status_file(config)
    fresh = path.with_suffix(".new")
    try:
        fresh.write_text(json.dumps({**view.document(), "clock": view.clock_document()}))
        fresh.replace(path)
    except OSError as error:
        _LOG.warning("status file %s: %s", path, error.strerror)


def read_status(config: NodeConfig) -> tuple[dict[str, Any], bool]:
    """The last status, and whether the agent that wrote it still runs. Raises InputError when there is none."""
    path = status_file(config)
    try:
        document = json.loads(path.read_text())
        pid = int(document["pid"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is no status", hint="start the agent: touchline agent run --config FILE") from error
    return document, document["state"] != "stopped" and _alive(pid)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's process: it exists
        return True
    return True
