"""``touchline node tune``: see, apply, check and undo the host's settings."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from touchline.errors import GateError
from touchline.shell import config_option, emit, json_option, note

if TYPE_CHECKING:
    from flash.tune.facts import Facts
    from flash.tune.plan import Plan
    from flash.tune.tree import Tree
    from flash.tune.undo import UndoFile
    from touchline.config import NodeConfig
    from touchline.config.tune import TuneSection

root_option: Final = click.option(
    "--root",
    default="/",
    type=click.Path(path_type=Path, file_okay=False),
    help="Tree that holds proc, sys and var, for tests; default /.",
)


@click.group(invoke_without_command=True)
@click.option("--dry-run", is_flag=True, help="Show what apply would change, and change nothing. Takes --config.")
@click.option("--config", "config_path", type=click.Path(path_type=Path, dir_okay=False), help="The node's TOML file.")
@root_option
@json_option
@click.pass_context
def tune(context: click.Context, dry_run: bool, config_path: Path | None, root: Path, as_json: bool) -> None:
    """Set the host up for steady packets: interrupts, idle states, buffers, rings ([tune] in node.toml).

    Interrupts of cameras and network go to the CPUs of those processes that they wake; idle states with a long way back
    are switched off; net.core.rmem_max is raised, and with tune.rx_ring the receive ring of the network cards. CPU
    clocks are left alone: they belong to the thermal room. Settings last until the next boot; touchline-tune.service
    applies them anew.

    \b
    Examples:
      touchline node tune --dry-run --config node.toml
      sudo touchline node tune apply --config node.toml
      touchline node tune check --config node.toml
      sudo touchline node tune undo
    """
    if context.invoked_subcommand is not None:
        if dry_run or config_path is not None:
            raise click.UsageError("put --config behind the command: touchline node tune apply --config node.toml")
        return
    if not dry_run or config_path is None:
        raise click.UsageError("give --dry-run with --config node.toml, or one of apply, check, undo, needed")
    _dry_run(config_path, root, as_json)


@tune.command()
@config_option()
@root_option
@json_option
def apply(config_path: Path, root: Path, as_json: bool) -> None:
    """Write what differs, each value read back; what stood there before is kept for undo.

    A second run changes nothing and never touches the originals. What [tune] no longer asks for is put back. A setting
    that this machine lacks or refuses is named; where [tune] says "required" it ends with exit code 7.

    \b
    Examples:
      sudo touchline node tune apply --config node.toml
      sudo touchline node tune apply --config node.toml --json
    """
    from flash.tune.apply import apply as bring
    from flash.tune.apply import check_outcomes
    from flash.tune.plan import plan
    from flash.tune.settings import interfaces_of, need_tune
    from flash.tune.show import count_text, outcome_value, outcomes_text
    from touchline.config import NodeConfig, load

    config = load(config_path, NodeConfig)
    section = need_tune(config, config_path)
    tree, file, facts = _look(root)
    with file.alone():
        undo = file.load(facts.boot_id)
        made = plan(facts, section, config.process, undo, interfaces_of(config))
        outcomes = bring(tree, made, undo, file.save)
    value = {"node": config.node.name, "outcomes": [outcome_value(one) for one in outcomes]}
    emit(value, as_json, f"{outcomes_text(outcomes)}\n{config.node.name}: {count_text(outcomes)}")
    check_outcomes(outcomes)


@tune.command()
@config_option()
@click.option(
    "--measure", "measured", is_flag=True, help="Also measure timer and packet jitter against tune.jitter_us."
)
@click.option(
    "--seconds", default=10.0, show_default=True, type=click.FloatRange(0.1, 3600), help="How long each is measured."
)
@click.option("--cpu", type=click.IntRange(0, 4095), help="Measure on this CPU; default: the first of capture_cpus.")
@root_option
@json_option
def check(config_path: Path, measured: bool, root: Path, as_json: bool, **how: Any) -> None:
    """Compare the host with [tune]; exits with 8 and names the lines that differ. Changes nothing.

    --measure takes 1,000 timer wake-ups and 1,000 packets over the loopback a second, under SCHED_FIFO where granted
    (sudo). Jitter is what 99.9 % stay below, above the quickest; a busy host shows its load, which is the point.

    \b
    Examples:
      touchline node tune check --config node.toml
      sudo touchline node tune check --config node.toml --measure --seconds 60
      touchline node tune check --config node.toml --json
    """
    from flash.tune.show import plan_text, plan_value, report_text, report_value

    config, section, found = _plan(config_path, root)
    value, text = {"node": config.node.name, **plan_value(found)}, plan_text(found)
    jitter_us = 0.0
    if measured:
        from flash.tune.jitter import measure

        cpus = config.process.capture_cpus
        cpu = how["cpu"] if how["cpu"] is not None else (cpus[0] if cpus else None)
        report = measure(how["seconds"], cpu)
        jitter_us = report.jitter_us
        value["measured"] = report_value(report, section.jitter_us)
        text += "\n" + report_text(report, section.jitter_us)
    emit(value, as_json, text)
    _judge(config.node.name, found, jitter_us, section.jitter_us)


@tune.command()
@root_option
@json_option
def undo(root: Path, as_json: bool) -> None:
    """Put everything back as it was before the first apply of this boot.

    touchline-tune.service applies [tune] again at the next boot and every quarter of an hour; to be rid of it for good,
    take [tune] out of node.toml as well.

    \b
    Examples:
      sudo touchline node tune undo
      sudo touchline node tune undo --json
    """
    from flash.tune.apply import check_outcomes, put_back
    from flash.tune.show import count_text, outcome_value, outcomes_text

    tree, file, facts = _look(root)
    with file.alone():
        kept = file.load(facts.boot_id)
        outcomes = put_back(tree, facts, kept, file.save)
    text = f"{outcomes_text(outcomes)}\n{count_text(outcomes)}" if outcomes else "nothing was changed in this boot"
    emit({"outcomes": [outcome_value(one) for one in outcomes]}, as_json, text)
    check_outcomes(outcomes)


@tune.command()
@config_option()
@json_option
def needed(config_path: Path, as_json: bool) -> None:
    """For units (ExecCondition=): exit with 0 when node.toml has [tune], else with 1.

    \b
    Example:
      touchline node tune needed --config node.toml
    """
    from touchline.config import NodeConfig, load

    config = load(config_path, NodeConfig)
    wanted = config.tune is not None
    emit({"needed": wanted}, as_json, "[tune] is there" if wanted else "no [tune]: the host is left as it is")
    sys.exit(0 if wanted else 1)


# --- what they share ---


def _look(root: Path) -> tuple[Tree, UndoFile, Facts]:
    from flash.tune.facts import look
    from flash.tune.tree import Tree
    from flash.tune.undo import UndoFile

    tree = Tree(root.resolve())
    return tree, UndoFile(tree.root), look(tree)


def _plan(config_path: Path, root: Path) -> tuple[NodeConfig, TuneSection, Plan]:
    from flash.tune.settings import need_tune
    from touchline.config import NodeConfig, load

    config = load(config_path, NodeConfig)
    section = need_tune(config, config_path)
    return config, section, _planned(config, section, root)


def _planned(config: NodeConfig, section: TuneSection, root: Path) -> Plan:
    from flash.tune.advice import advise
    from flash.tune.plan import plan
    from flash.tune.settings import interfaces_of

    _, file, facts = _look(root)
    made = plan(facts, section, config.process, file.load(facts.boot_id), interfaces_of(config))
    return replace(made, advice=(*advise(facts, section, config.process, len(config.camera)), *made.advice))


def _dry_run(config_path: Path, root: Path, as_json: bool) -> None:
    from flash.tune.show import plan_text, plan_value
    from touchline.config import NodeConfig, load
    from touchline.config.tune import TuneSection

    config = load(config_path, NodeConfig)
    if config.tune is None:
        note(f"{config_path} has no [tune]: shown is what an empty one would do")
    found = _planned(config, config.tune or TuneSection(), root)
    value = {"node": config.node.name, "asked": config.tune is not None, **plan_value(found)}
    emit(value, as_json, f"{plan_text(found)}\n{len(found.to_write)} of {len(found.rows)} would be written")


def _judge(name: str, found: Plan, jitter_us: float, bar_us: float) -> None:
    from flash.tune.show import differences

    wrong = found.wrong
    if wrong:
        hint = "sudo touchline node tune apply --config ..."
        raise GateError(f"node {name}: {len(wrong)} of {len(found.rows)} differ: {differences(wrong)}", hint=hint)
    if jitter_us > bar_us:
        hint = "see the advice above: CPU sets, interrupts, idle states; a virtual machine cannot promise it"
        raise GateError(f"node {name}: jitter {jitter_us:g} us, bar {bar_us:g} us", hint=hint)
