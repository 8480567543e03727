"""``touchline node encoder``: the spare copy of the encoder (FOV-5)."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from touchline.errors import ConfigError, GateError
from touchline.shell import config_option, emit, json_option


@click.group()
def encoder() -> None:
    """The spare copy of the encoder binary: owner root, mode 0500, immutable ([record] spare).

    \b
    Examples:
      sudo touchline node encoder install --config node.toml
      sudo touchline node encoder check --config node.toml
    """


@encoder.command()
@config_option()
@click.option("--update", is_flag=True, help="Replace a spare that differs: after ffmpeg was upgraded.")
@json_option
def install(config_path: Path, update: bool, as_json: bool) -> None:
    """Put the spare there, or put it right; does nothing when it is as it shall be.

    The copy is written beside, synced and run once before it takes its place. A spare that differs from the encoder is
    kept and the command exits with 8, unless --update says that the encoder is the good one of the two.

    \b
    Examples:
      sudo touchline node encoder install --config node.toml
      sudo touchline node encoder install --config node.toml --update
    """
    from flash.tune.encoder import install as put

    primary, spare = _both(config_path)
    changed = put(primary, spare, update)
    text = f"{spare}: {f'copied from {primary}, immutable' if changed else 'as it shall be, nothing to do'}"
    emit(_value(primary, spare, changed=changed), as_json, text)


@encoder.command()
@config_option()
@json_option
def check(config_path: Path, as_json: bool) -> None:
    """Look at both copies; exits with 8 and says what is wrong: missing, owner, mode, flag, other bytes.

    Takes root to tell all of it: what could not be told counts as wrong.

    \b
    Example:
      sudo touchline node encoder check --config node.toml
    """
    from flash.tune.encoder import findings

    primary, spare = _both(config_path, missing_is_fine=True)
    wrong = findings(primary, spare)
    text = "\n".join(f"{one.severity}: {one.text}; {one.fix}" for one in wrong) or f"{spare}: good"
    emit(_value(primary, spare, good=not wrong, findings=[asdict(one) for one in wrong]), as_json, text)
    if wrong:
        raise GateError(
            f"spare encoder: {'; '.join(one.text for one in wrong)}",
            hint="sudo touchline node encoder install (--update after an upgrade of ffmpeg), or restore",
        )


@encoder.command()
@config_option()
@json_option
def restore(config_path: Path, as_json: bool) -> None:
    """Put the spare's bytes back in the encoder's place, for when that one is damaged.

    \b
    Example:
      sudo touchline node encoder restore --config node.toml
    """
    from flash.tune.encoder import restore as put_back

    primary, spare = _both(config_path, missing_is_fine=True)
    changed = put_back(primary, spare)
    text = f"{primary}: {f'restored from {spare}' if changed else 'the same as the spare, nothing to do'}"
    emit(_value(primary, spare, changed=changed), as_json, text)


def _both(config_path: Path, missing_is_fine: bool = False) -> tuple[Path, Path]:
    """Paths of the encoder and of its spare."""
    from flash.tune.encoder import find_primary
    from touchline.config import NodeConfig, load

    record = load(config_path, NodeConfig).record
    if record is None or not record.spare:
        raise ConfigError(
            f"{config_path} asks for no spare encoder",
            hint='name it: [record] spare = "/usr/local/lib/touchline/ffmpeg.spare"',
        )
    if missing_is_fine and record.ffmpeg and not Path(record.ffmpeg).exists():
        return Path(record.ffmpeg), Path(record.spare)
    return find_primary(record.ffmpeg), Path(record.spare)


def _value(primary: Path, spare: Path, **fields: Any) -> dict[str, Any]:
    return {"encoder": str(primary), "spare": str(spare), **fields}
