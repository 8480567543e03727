"""``touchline clock status --watch``: the same look again and again, as a live view or as lines."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final, Protocol

import click
from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.text import Text

from agent.clock.show import plain_line, status_text
from touchline.errors import InputError
from touchline.shell import explain
from touchline.timeline import monotonic_ns, sleep_until

PERIOD_NS: Final = 500_000_000
_BAR: Final = 40
_COLOURS: Final = {"locked": "green", "holdover": "yellow", "unlocked": "red"}

Look = Callable[[], dict[str, Any]]


class View(Protocol):
    """Where looks are shown."""

    def __enter__(self) -> View:
        """Begin."""
        ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        """End, and leave the terminal as it was."""
        ...

    def show(self, document: dict[str, Any]) -> None:
        """Show a look."""
        ...

    def fault(self, error: InputError) -> None:
        """Show why there is none."""
        ...


class Lines:
    """One line a look, as text or as JSON, for a pipe or a log."""

    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json

    def __enter__(self) -> Lines:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def show(self, document: dict[str, Any]) -> None:
        """Print it."""
        click.echo(json.dumps(document) if self._as_json else plain_line(document))

    def fault(self, error: InputError) -> None:
        """Print it where errors go."""
        click.echo(explain(error, self._as_json), err=True)


class Screen:
    """A live view in a terminal."""

    def __init__(self, console: Console | None = None) -> None:
        self._live = Live(console=console or Console(), auto_refresh=False)

    def __enter__(self) -> Screen:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def show(self, document: dict[str, Any]) -> None:
        """Draw it in place of the last one."""
        colour = _COLOURS.get(document["state"], "white")
        head, _, rest = status_text(document).partition("\n")
        parts = [
            Text(head, style=f"bold {colour}"),
            bar(document["bound_ns"], document["limit_ns"], colour),
            Text(rest),
        ]
        self._draw(Group(*parts), colour)

    def fault(self, error: InputError) -> None:
        """Draw it in place of the last look."""
        self._draw(Group(Text(explain(error), style="red")), "red")

    def _draw(self, group: Group, colour: str) -> None:
        subtitle = Text("Ctrl-C ends", style="dim")
        self._live.update(Panel(group, title="touchline clock", subtitle=subtitle, border_style=colour), refresh=True)


def bar(bound_ns: float, limit_ns: float, colour: str) -> Text:
    """The bound as a part of the limit."""
    share = bound_ns / limit_ns
    full = min(_BAR, round(share * _BAR))
    text = Text("  bound        ")
    text.append("█" * full, style=colour)
    text.append("░" * (_BAR - full), style="dim")
    return text.append(f" {100 * share:.0f} % of the limit" if share < 10 else f" {share:,.0f} times the limit")


def watch(look: Look, as_json: bool, pause: Callable[[int], None] = sleep_until) -> None:
    """Look twice a second until Ctrl-C; while there is nothing to see yet, say so and go on."""
    view: View = Lines(as_json) if as_json or not sys.stdout.isatty() else Screen()
    due_ns = monotonic_ns()
    with view:
        while True:
            try:
                document = look()
            except InputError as error:
                view.fault(error)
            else:
                view.show(document)
            due_ns = max(due_ns + PERIOD_NS, monotonic_ns())
            pause(due_ns)
