"""``python -m agent.processes SPEC PARENT_PID``: entry of every child; started by the agent, not by people."""

from __future__ import annotations

import importlib
import logging
import sys
from typing import Final

from agent import control
from agent.processes.child import Child, prepare
from agent.processes.spec import ChildSpec, Role
from touchline.errors import TouchlineError

JOBS: Final = {
    Role.CAPTURE: ("agent.processes.capture", "run_capture"),
    Role.INFERENCE: ("agent.processes.inference", "run_inference"),
    Role.PUBLISHER: ("agent.processes.publisher", "run_publisher"),
    Role.CLOCK: ("agent.processes.clock", "run_clock"),
    Role.RECORDER: ("agent.processes.recorder", "run_recorder"),
    Role.UART: ("agent.processes.uart", "run_uart"),
}

_MAX_WORDS: Final = 2000


def main(argv: list[str]) -> int:
    """Run one child's job; its failure goes to the parent in words and out as an exit code."""
    spec = ChildSpec.from_text(argv[0])
    logging.basicConfig(level=logging.INFO, format=f"{spec.name}: %(message)s", stream=sys.stderr)
    child: Child | None = None
    try:
        child = prepare(spec, int(argv[1]))
        module, function = JOBS[spec.role]
        getattr(importlib.import_module(module), function)(child)
    except TouchlineError as error:
        logging.getLogger(spec.name).error("%s", error)
        _tell(child, error.message, error.hint)
        return error.exit_code
    except Exception as error:  # the border of the process: the parent gets the words, the log the traceback
        _tell(child, f"{type(error).__name__}: {error}", "see the log; this is a fault of Touchline")
        raise
    return 0


def _tell(child: Child | None, message: str, hint: str) -> None:
    if child is not None:
        control.send(child.control, {"type": "failed", "message": message[:_MAX_WORDS], "hint": hint})


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
