"""How a build's events are shown: a bar for each step on a terminal, lines elsewhere, JSON for programs."""

from __future__ import annotations

import json
import sys
import threading
from types import TracebackType
from typing import Protocol

import click
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from hil.virtual.image.steps import CACHED, DONE, FAILED, STARTED, StepEvent

_MARKS = {STARTED: "[cyan]…[/]", DONE: "[green]✓[/]", CACHED: "[green]=[/]", FAILED: "[red]✗[/]"}


class Reporter(Protocol):
    """Takes events while it is entered, from any thread."""

    def __enter__(self) -> Reporter:
        """Begin to show."""
        ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the screen as it is."""
        ...

    def __call__(self, event: StepEvent) -> None:
        """Show one event."""
        ...


def reporter(as_json: bool) -> Reporter:
    """The one that fits where standard error goes to."""
    if as_json:
        return LineReporter(as_json=True)
    return BarReporter() if sys.stderr.isatty() else LineReporter(as_json=False)


class LineReporter:
    """One line for each event: JSON on standard output, or words on standard error."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._lock = threading.Lock()

    def __enter__(self) -> LineReporter:
        return self

    def __exit__(self, *_: object) -> None:
        return

    def __call__(self, event: StepEvent) -> None:
        """Print it."""
        line = json.dumps(event.as_dict()) if self._as_json else _words(event)
        with self._lock:
            click.echo(line, err=not self._as_json)


class BarReporter:
    """A line with a bar for each step, redrawn in place."""

    def __init__(self, console: Console | None = None) -> None:
        self._bars = Progress(
            TextColumn("{task.fields[mark]}"),
            TextColumn("{task.description:<22}"),
            BarColumn(bar_width=24),
            TimeElapsedColumn(),
            TextColumn("{task.fields[text]}"),
            console=console or Console(stderr=True),
        )
        self._tasks: dict[str, TaskID] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> BarReporter:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def __call__(self, event: StepEvent) -> None:
        """Start the step's bar, or end it."""
        with self._lock:
            task = self._tasks.get(event.step)
            if task is None:
                task = self._bars.add_task(event.step, total=None, mark="", text="")
                self._tasks[event.step] = task
        self._bars.update(task, mark=_MARKS[event.state], text=escape(event.text))
        if event.state != STARTED:
            self._bars.update(task, total=1, completed=0 if event.state == FAILED else 1)
            self._bars.stop_task(task)


def _words(event: StepEvent) -> str:
    took = "" if event.state == STARTED else f" {event.seconds:6.1f} s"
    return f"{event.step:<22} {event.state:<8}{took}  {event.text}".rstrip()
