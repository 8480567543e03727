"""What an installation does, decided from what is there. Pure: facts in, steps out; nothing here touches the system."""

from __future__ import annotations

from dataclasses import dataclass

from touchline.errors import ResourceError


@dataclass(frozen=True)
class Facts:
    """The system as it is found.

    ``release``: the one to install or to go back to. ``complete``: it stands already. ``changed`` and ``stale``:
    files of systemd's folders to write and to delete. ``settled``: the last run for this release reached its end.
    ``idle``: nothing of ours is started. ``old``: folders of releases that nobody needs. ``commands``: the exact
    command lines, by step.
    """

    release: str
    complete: bool
    current: str | None
    previous: str | None
    has_command: bool
    changed: tuple[str, ...]
    stale: tuple[str, ...]
    has_user: bool
    not_enabled: tuple[str, ...]
    settled: bool
    may_start: bool
    idle: bool
    old: tuple[str, ...]
    commands: dict[str, tuple[tuple[str, ...], ...]]


@dataclass(frozen=True)
class Step:
    """One step; ``needed`` is False when the system is already so."""

    name: str
    text: str
    needed: bool
    commands: tuple[tuple[str, ...], ...] = ()


def plan_install(facts: Facts) -> list[Step]:
    """The steps of an installation or an update, in order. Killed between any two, the next run goes on from there."""
    switches = facts.current != facts.release
    keeps = facts.current if switches else facts.previous
    steps = [
        Step("release", f"unpack and compile releases/{facts.release}", not facts.complete),
        Step("previous", f"keep {keeps or 'nothing'} for --rollback", switches and facts.current is not None),
        Step("current", f"switch current to releases/{facts.release}", switches),
    ]
    return steps + _system_steps(facts, switches)


def plan_rollback(facts: Facts) -> list[Step]:
    """The steps back to the previous release. ``current`` first: killed after it, the node is where it should be."""
    if facts.previous is None or facts.previous == facts.current:
        raise ResourceError("there is no earlier release to go back to", hint="install the wanted bundle instead")
    if not facts.complete:
        raise ResourceError(f"the earlier release {facts.previous} is not whole", hint="install the wanted bundle")
    steps = [
        Step("current", f"switch current to releases/{facts.release}", True),
        Step("previous", f"keep {facts.current} for --rollback", facts.current is not None),
    ]
    return steps + _system_steps(facts, switches=True)


def _system_steps(facts: Facts, switches: bool) -> list[Step]:
    """What follows the switch: the operating system's side."""
    files = ", ".join([*facts.changed, *(f"delete {path}" for path in facts.stale)]) or "the same"
    writes = bool(facts.changed or facts.stale)
    commands = facts.commands
    unsettled = switches or writes or not facts.settled
    at_boot = "start at boot: " + (", ".join(facts.not_enabled) or "already")
    return [
        Step("command", "link touchline onto the path", not facts.has_command),
        Step("files", f"systemd's files: {files}", writes),
        Step("user", "make the service's user", not facts.has_user, commands["user"]),
        Step("folders", "make the folders of tmpfiles.d", unsettled, commands["folders"]),
        Step("enable", at_boot, bool(facts.not_enabled), commands["enable"]),
        Step(
            "start",
            "start, or restart with the new release" if facts.may_start else "starting is left to you",
            facts.may_start and (unsettled or facts.idle),
            commands["start"],
        ),
        Step("tidy", "delete " + (", ".join(facts.old) or "nothing"), bool(facts.old)),
    ]
