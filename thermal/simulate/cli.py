"""``touchline thermal simulate``: a match day on the simulated node, as figures, picture, JSON and record."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from touchline.errors import GateError, InputError
from touchline.shell import emit, json_option, note

if TYPE_CHECKING:
    from thermal.control import Settings
    from thermal.plant.profiles import Profile
    from thermal.simulate.figures import Figures
    from thermal.simulate.run import Run
    from thermal.types import Command, Sample

_PATH: Final = click.Path(path_type=Path, dir_okay=False)
_LAWS: Final = ("ours", "line", "full")


@click.command()
@click.option("--profile", "name", default="match", show_default=True, help="Which day; --list shows them.")
@click.option("--profiles", "file", type=_PATH, help="A JSON file of your own profiles; docs/thermal.md shows one.")
@click.option(
    "--law",
    "law_name",
    default="ours",
    show_default=True,
    type=click.Choice(_LAWS),
    help="ours: as the service runs it; line: the asked line alone; full: the fan at full speed.",
)
@click.option("--config", "config_path", type=_PATH, help="Take [thermal] of this node.toml; without: its defaults.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Of noise and load.")
@click.option("--svg", type=_PATH, help="Draw the run into this file.")
@click.option("--record", "record_path", type=_PATH, help="Write every tick of the law, as the service does (JSONL).")
@click.option("--check", is_flag=True, help="Exit with 8 if tj rose above 70 C where the full fan would have held it.")
@click.option("--list", "listing", is_flag=True, help="Show the profiles and end.")
@json_option
def simulate(name: str, file: Path | None, law_name: str, config_path: Path | None, seed: int, **rest: Any) -> None:
    """Simulate a match day: what the fan, the clocks and the temperature do, before a node has to.

    The node is a model (die, heatsink, box, fan, sensors); its constants are named in thermal/plant/spec.py and nothing
    in it was measured on your node. A double-header of five hours takes a few seconds.

    \b
    Examples:
      touchline thermal simulate --list
      touchline thermal simulate --profile double-header --svg day.svg
      touchline thermal simulate --profile heat-38c-sun --law line --json
      touchline thermal simulate --profile match --record record.jsonl
    """
    from thermal.plant.profiles import built_in, read_profiles

    profiles = built_in() if file is None else read_profiles(file)
    if rest["listing"]:
        _list(profiles, rest["as_json"])
        return
    profile = profiles.get(name)
    if profile is None:
        raise InputError(f"no profile is called {name}", hint=f"there are {', '.join(profiles)}")
    svg: Path | None = rest["svg"]
    if svg is not None and svg.suffix.lower() != ".svg":
        raise click.BadParameter("the picture is an SVG; give a name ending in .svg", param_hint="--svg")
    run = _run(profile, law_name, settings_of(config_path), seed, rest["record_path"])
    _show(run, svg, rest["record_path"], rest["as_json"])
    if rest["check"]:
        _check(run)


def _list(profiles: Mapping[str, Profile], as_json: bool) -> None:
    rows = {name: {"about": one.about, "minutes": round(one.seconds / 60)} for name, one in profiles.items()}
    width = max(len(name) for name in rows)
    text = "\n".join(f"{name:<{width}}  {row['minutes']:>4} min  {row['about']}" for name, row in rows.items())
    emit({"profiles": rows}, as_json, text)


def settings_of(config_path: Path | None) -> Settings:
    """The law's settings from a node.toml, or the defaults."""
    from thermal.control import Settings

    if config_path is None:
        return Settings()
    from touchline.config import NodeConfig, load

    section = load(config_path, NodeConfig).thermal
    if section is None:
        note(f"{config_path} has no [thermal]: the defaults are used")
        return Settings()
    return Settings.from_section(section)


def _run(profile: Profile, law_name: str, settings: Settings, seed: int, record_path: Path | None) -> Run:
    from thermal.simulate.laws import law_of
    from thermal.simulate.run import Plan, simulate

    plan = Plan(profile, seed=seed, set_point_c=settings.set_point_c)
    law = law_of(law_name, settings)
    if record_path is None:
        return simulate(plan, law, progress=_progress(profile))
    from thermal.record import encode

    with record_path.open("wb") as file:

        def each(sample: Sample, command: Command) -> None:
            file.write(encode(sample, command))

        return simulate(plan, law, each=each, progress=_progress(profile))


def _progress(profile: Profile) -> Callable[[float], None]:
    """A line on a terminal's standard error; nothing elsewhere."""

    def show(share: float) -> None:
        if sys.stderr.isatty():
            click.echo(f"\r{profile.name}: {100 * share:3.0f} %\x1b[K", err=True, nl=False)
            if share > 0.999:
                click.echo("\r\x1b[K", err=True, nl=False)

    return show


def _show(run: Run, svg: Path | None, record_path: Path | None, as_json: bool) -> None:
    from thermal.simulate.figures import document, figures

    found = figures(run)
    if svg is not None:
        from thermal.simulate.picture import draw

        svg.write_text(draw(run, found), encoding="utf-8")
    paths = {"svg": svg, "record": record_path}
    written = {name: str(path) for name, path in paths.items() if path is not None}
    text = _text(run, found) + "".join(f"\n  {name:<8} {path}" for name, path in written.items())
    emit({**document(run, found), **written}, as_json, text)


def _text(run: Run, found: Figures) -> str:
    from thermal.simulate.picture import clock_text, minutes_text

    above = f"above 68 C {minutes_text(found.above_68_s)}, above 70 C {minutes_text(found.above_70_s)}"
    rms = "" if found.rms_k is None else f", {found.rms_k:.2f} K rms from {run.set_point_c:g} C at match load"
    turns = f"{found.reversals_per_h:.1f} turns of more than 5 % an hour"
    lines = [
        f"{run.profile.name}, law {run.law}, seed {run.seed}: {run.profile.about}",
        f"  tj       peak {found.peak_c:.1f} C; {above}{rms}",
        f"  fan      duty {found.mean_duty_pct:.1f} % in the mean, {turns}, {found.fan_wh:.2f} Wh, "
        f"{found.noise_dba:.1f} dB(A), at most {found.peak_dba:.1f}",
        f"  clocks   capped {minutes_text(found.capped_s)}, {found.lost_pct:.2f} % of the frames not done",
        f"  power    {found.mean_power_w:.1f} W in the mean, module",
    ]
    for one in run.faults[:20]:
        when = f"{clock_text(one.begin_s, True)} for {minutes_text(one.end_s - one.begin_s)}"
        lines.append(f"  {one.severity:<8} {when:<20} {one.name}: {one.text}")
    if len(run.faults) > 20:
        lines.append(f"  and {len(run.faults) - 20} further faults (--json)")
    return "\n".join(lines)


def _check(run: Run) -> None:
    """Compare with the full fan on the same day. Raises GateError."""
    from thermal.simulate.figures import BAR_C, held_by_full_fan, peak_where
    from thermal.simulate.laws import FullLaw
    from thermal.simulate.run import Plan, simulate

    full = simulate(Plan(run.profile, run.seed, run.tick_s), FullLaw())
    peak_c = peak_where(run, held_by_full_fan(full))
    if peak_c is not None and peak_c > BAR_C:
        raise GateError(
            f"{run.profile.name}: tj rose to {peak_c:.1f} C where the full fan would have held {BAR_C:g} C",
            hint="look at the picture (--svg); lower set_point_c or raise gain_pct_c in [thermal]",
        )
