"""What every command shares: the --json switch, printing, and errors that end in an exit code."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click

from touchline.errors import ResourceError, TouchlineError

if TYPE_CHECKING:
    from touchline.config import NodeConfig

_F = TypeVar("_F", bound=Callable[..., Any])


def json_option(command: _F) -> _F:
    """Add ``--json`` (parameter ``as_json``): one JSON document on standard output, nothing else there."""
    option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of text.")
    return option(command)


def config_option(what: str = "The node's TOML file.") -> Callable[[_F], _F]:
    """Add ``--config`` (parameter ``config_path``), which must be given."""
    path = click.Path(path_type=Path, dir_okay=False)
    return click.option("--config", "config_path", required=True, type=path, help=what)


def answer_needed(config_path: Path, wanted: Callable[[NodeConfig], bool], what: str) -> NoReturn:
    """Exit with 0 when the node's configuration wants ``what``, 1 when not: for a unit's ExecCondition.

    Whatever keeps it from knowing is 255, which systemd takes for a failure; 1 to 254 would skip the unit in silence.
    Not for a unit with ``Restart=``: such a failure is restarted for ever, whatever ``RestartPreventExitStatus`` says.
    """
    try:
        from touchline.config import NodeConfig, load

        found = wanted(load(config_path, NodeConfig))
    except Exception as error:  # noqa: BLE001 whatever it is, it is no "no": see above
        click.echo(f"touchline: cannot tell whether {what}: {error}", err=True)
        sys.exit(255)
    sys.exit(0 if found else 1)


def emit(value: Mapping[str, Any], as_json: bool, human: str) -> None:
    """Print ``value`` as JSON, or ``human`` for a person."""
    click.echo(json.dumps(value, indent=2, sort_keys=False) if as_json else human)


def note(text: str) -> None:
    """Say something beside the result, on standard error."""
    click.echo(text, err=True)


def explain(error: TouchlineError, as_json: bool = False) -> str:
    """The error as the user sees it: one line and, below it, the fix."""
    if as_json:
        return json.dumps({"error": error.message, "fix": error.hint, "exit_code": error.exit_code})
    return f"touchline: {error.message}" + (f"\n      fix: {error.hint}" if error.hint else "")


def guarded(call: Callable[[], Any]) -> int:
    """Run a command and turn what it raises into an exit code; the table is ``docs/exit-codes.md``."""
    as_json = "--json" in sys.argv
    try:
        result = call()
    except TouchlineError as error:
        click.echo(explain(error, as_json), err=True)
        return error.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("touchline: interrupted", err=True)
        return 130
    except BrokenPipeError:
        return 0
    except OSError as error:  # a disk, a folder, a descriptor: the machine's fault, said in its own words
        failure = ResourceError(
            f"{error.filename or 'the system'}: {error.strerror}", hint="check path, owner and space"
        )
        click.echo(explain(failure, as_json), err=True)
        return failure.exit_code
    return result if isinstance(result, int) else 0
