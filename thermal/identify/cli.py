"""``touchline thermal identify``: from a recorded run to this node's numbers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from touchline.errors import InputError
from touchline.shell import emit, json_option, note

if TYPE_CHECKING:
    from thermal.control import Settings
    from thermal.identify.gains import Proposal
    from thermal.identify.model import Fit
    from thermal.record import Record

_PATH: Final = click.Path(path_type=Path, dir_okay=False)
_TAU: Final = "die's time constant"
_FAN: Final = "fan's effect"


@click.command()
@click.argument("records", nargs=-1, required=True, type=_PATH)
@click.option("--config", "config_path", type=_PATH, help="Take set point and line from [thermal] of this node.toml.")
@json_option
def identify(records: tuple[Path, ...], config_path: Path | None, as_json: bool) -> None:
    """Fit this node's cooling from a recorded run, say how good the fit is, and propose gains.

    RECORDS: files of the service's history (or of simulate --record), oldest first. The last 30 % of the run are not
    fitted but foretold: that error is the one to trust. Refused where power or fan hardly moved.

    \b
    Examples:
      touchline thermal simulate --profile match --record record.jsonl
      touchline thermal identify record.jsonl
      touchline thermal identify thermal.1.jsonl thermal.jsonl --config node.toml --json
    """
    from thermal.identify.gains import propose
    from thermal.identify.model import identify_cooling
    from thermal.identify.series import series_of
    from thermal.simulate.cli import settings_of

    series = series_of(_read(records))
    settings = settings_of(config_path)
    note(f"fitting {series.seconds / 60:.0f} min in steps of {series.step_s:.1f} s; this takes some seconds")
    found = identify_cooling(series)
    proposal = propose(series, found.cooling, settings)
    emit(document(found, proposal), as_json, text(found, proposal, settings))


def _read(paths: tuple[Path, ...]) -> Record:
    from thermal.record import read_record

    for path in paths:
        if not path.exists():
            raise InputError(f"{path} does not exist", hint="touchline thermal simulate --record writes one to try")
    record = read_record(paths)
    if record.damaged:
        note(f"{record.damaged} damaged lines left out")
    return record


def document(found: Fit, proposal: Proposal) -> dict[str, Any]:
    """The result for machines."""
    from dataclasses import asdict

    from thermal.identify.gains import keys

    return {
        "cooling": {name: _rounded(value) for name, value in asdict(found.cooling).items()},
        "relative_errors": {name: _rounded(value) for name, value in found.errors.items()},
        "fit": {
            "rms_k": _rounded(found.rms_k),
            "fitted_s": _rounded(found.fitted_s),
            "held_out_rms_k": _rounded(found.held_out_rms_k),
            "held_out_worst_k": _rounded(found.held_out_worst_k),
            "held_out_s": _rounded(found.held_out_s),
        },
        "method": "SIMC, smooth (Skogestad 2003, 2006)",
        "at": {name: _rounded(value) for name, value in asdict(proposal).items()},
        "thermal": keys(proposal),
    }


def _rounded(value: Any) -> Any:
    return round(value, 4) if isinstance(value, float) else value


def text(found: Fit, proposal: Proposal, settings: Settings) -> str:
    """The result for people, with the keys to paste."""
    from thermal.identify.gains import keys

    cooling, errors = found.cooling, found.errors

    def pm(name: str) -> str:
        return f"± {100 * errors[name]:.0f} %"

    lines = [
        f"fitted {found.fitted_s / 60:.0f} min: {found.rms_k:.2f} K rms; foretold the last {found.held_out_s / 60:.0f} "
        f"min: {found.held_out_rms_k:.2f} K rms, {found.held_out_worst_k:.1f} K at worst",
        f"  die over heatsink  {cooling.r_die_k_w:.3f} K/W {pm('die over heatsink')}, "
        f"in {cooling.tau_die_s:.1f} s {pm(_TAU)}",
        f"  heatsink           {cooling.c_sink_j_k:.0f} J/K {pm('heat capacity')}",
        f"  heatsink to air    {1 / cooling.conductance(1.0):.3f} K/W at full fan, "
        f"{1 / cooling.conductance(0.3):.3f} at 30 % (fan's effect {pm(_FAN)})",
        f"at {proposal.power_w:.0f} W of the rails, air {proposal.air_c:.1f} C and {settings.set_point_c:g} C: fan "
        f"{100 * proposal.share:.0f} %, 1 % of duty moves tj by {proposal.process_k_pct:.3f} K, "
        f"lag {proposal.lag_s:.0f} s, delay {proposal.delay_s:.1f} s",
    ]
    if not proposal.reachable:
        lines.append("  the fan cannot hold the set point there: it runs full, and clocks are capped above cap_above_c")
    lines += [
        f"gains by SIMC (smooth), closed loop in {proposal.closed_loop_s:.0f} s; paste into node.toml:",
        "",
        "[thermal]",
        *(f"{name} = {value:g}" for name, value in keys(proposal).items()),
    ]
    return "\n".join(lines)
