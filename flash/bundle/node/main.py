"""``install.py``: look, plan, print the plan, apply it. Every error is one line with its remedy and an exit code."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Final

from flash.bundle import manifest as manifests
from flash.bundle.manifest import Manifest, check_folder, parse_manifest
from flash.bundle.node import release, system
from flash.bundle.node.place import CONFIG, PREFIX, Place, settle, settled, unsettle
from flash.bundle.node.plan import Facts, Step, plan_install, plan_rollback
from flash.bundle.node.target import Interpreter, check_disk, check_target, find_interpreter, needed_bytes
from touchline.alone import alone
from touchline.errors import InputError, ResourceError, TouchlineError
from touchline.timeline import monotonic_ns

_EXAMPLES: Final = """\
examples:
  sudo python3 install.py --dry-run       show every step and command, change nothing
  sudo python3 install.py                 install or update, start
  sudo python3 install.py --rollback      back to the release before
  python3 install.py --root /mnt/image    into the tree of another machine (same Python version: nothing is emulated)

exit codes: 0 done or nothing to do, 2 wrong usage, 4 damaged bundle, 5 Python, disk or rights, 7 wrong machine
"""


class Teller:
    """Says what happens: lines for a person, or one JSON event per line."""

    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json

    def event(self, kind: str, text: str, **fields: Any) -> None:
        """Tell one event."""
        line = json.dumps({"event": kind, **fields, "text": text}) if self._as_json else text
        sys.stdout.write(line + "\n")
        sys.stdout.flush()

    def step(self, step: Step, state: str, detail: str = "", seconds: float = 0.0) -> None:
        """Tell one step's state: planned, unchanged, done."""
        text = f"  {state:<9} {step.name:<9} {detail or step.text}" + (
            f"  ({seconds:.1f} s)" if seconds >= 0.05 else ""
        )
        commands = [list(argv) for argv in step.commands] if state == "planned" else []
        text += "".join("\n" + " " * 22 + " ".join(argv) for argv in commands)
        self.event(
            "step",
            text if not self._as_json else detail or step.text,
            name=step.name,
            state=state,
            commands=commands,
            seconds=round(seconds, 3),
        )


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        "install.py",
        description="Install the Touchline bundle that this file lies in. A second run does nothing, and a run after "
        "one that was cut off goes on from there.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("--root", type=Path, default=Path("/"), help="tree of the system to install into (default /)")
    made.add_argument("--python", help="the interpreter to use, as the installed system sees it: /usr/bin/python3.11")
    made.add_argument("--rollback", action="store_true", help="go back to the release before the current one")
    made.add_argument("--dry-run", action="store_true", help="print the plan and the exact commands, change nothing")
    made.add_argument("--no-start", action="store_true", help="do not start or restart the services")
    made.add_argument("--json", action="store_true", help="one JSON event per line")
    return made


def main(words: Sequence[str], bundle: Path) -> int:
    """Run the installer for the bundle unpacked in ``bundle``; returns the exit code."""
    options = parser().parse_args(words)
    os.umask(0o022)  # the service's user must be able to read what root installs
    teller = Teller(options.json)
    try:
        return _run(options, bundle, teller)
    except TouchlineError as error:
        return _failed(teller, options.json, error)
    except OSError as error:
        what = f"{error.filename or 'the system'}: {error.strerror}"
        return _failed(teller, options.json, ResourceError(what, hint="check rights, space and the disk"))
    except KeyboardInterrupt:
        sys.stderr.write("touchline: interrupted; run it again and it goes on\n")
        return 130


def _failed(teller: Teller, as_json: bool, error: TouchlineError) -> int:
    if as_json:
        teller.event("error", error.message, fix=error.hint, exit_code=error.exit_code)
    else:
        sys.stderr.write(f"touchline: {error.message}" + (f"\n      fix: {error.hint}\n" if error.hint else "\n"))
    return error.exit_code


def _run(options: argparse.Namespace, bundle: Path, teller: Teller) -> int:
    began_ns = monotonic_ns()
    place = Place(options.root.resolve())
    if not place.root.is_dir():
        raise InputError(f"{options.root} is not a folder", hint="give the top of the tree with --root")
    job = _Job(options, place, bundle, teller)
    if options.dry_run:
        for step in job.plan():
            teller.step(step, "planned" if step.needed else "unchanged")
        return 0
    with alone(place.here(PREFIX), "another installation is running"):
        changed = job.apply()
    seconds = (monotonic_ns() - began_ns) / 1e9
    name = place.pointed("current")
    text = f"release {name} is installed ({seconds:.1f} s)" if changed else f"release {name}: nothing to do"
    teller.event("result", text, release=name, changed=changed, seconds=round(seconds, 3))
    if not options.json and not place.here(CONFIG).exists():
        teller.event("hint", f"next: write {CONFIG}; until then the agent is not started")
    return 0


class _Job:
    """One installation or rollback: what it finds, plans and does."""

    def __init__(self, options: argparse.Namespace, place: Place, bundle: Path, teller: Teller) -> None:
        self._options, self._place, self._bundle, self._teller = options, place, bundle, teller
        self._python: Interpreter | None = None
        if options.rollback:
            self._manifest = self._rolled_back()
            self._system = self._place.here(place.release(self._manifest.release)) / "system"
        else:
            self._manifest = _read_manifest(bundle)
            self._system = bundle / "system"

    def _rolled_back(self) -> Manifest:
        name = self._place.pointed("previous")
        record = None if name is None else self._place.here(self._place.release(name)) / release.RECORD
        if record is None or not record.is_file():
            raise ResourceError("there is no earlier release to go back to", hint="install the wanted bundle instead")
        return parse_manifest(record.read_bytes())

    def plan(self) -> list[Step]:
        """Check everything that can be checked, then plan."""
        facts = self._look()
        if self._options.rollback:
            return plan_rollback(facts)
        self._python = find_interpreter(self._place, self._manifest.python, self._options.python)
        check_target(self._manifest, self._python)
        if not facts.complete:
            check_folder(self._manifest, self._bundle)
            check_disk(self._place, needed_bytes(self._manifest))
        system.check_command(self._place)
        return plan_install(facts)

    def _look(self) -> Facts:
        place, name = self._place, self._manifest.release
        files = system.system_files(self._system)
        current, previous = place.pointed("current"), place.pointed("previous")
        old = {} if current is None else system.system_files(place.here(place.release(current)) / "system")
        kept = {name, current if current != name else previous}
        may_start = system.systemd_runs(place) and not self._options.no_start
        tidies = not self._options.rollback and (may_start or not place.is_live)  # else the old one may still run
        return Facts(
            release=name,
            complete=release.is_complete(place, name),
            current=current,
            previous=previous,
            has_command=system.has_command(place),
            changed=tuple(map(str, system.changed_files(place, files))),
            stale=tuple(map(str, system.stale_files(place, old, files))),
            has_user=system.has_user(place),
            not_enabled=tuple(system.not_enabled(place)),
            settled=settled(place) == name,
            may_start=may_start,
            idle=may_start and not system.is_active("touchline.target"),
            old=tuple(release.superfluous(place, kept)) if tidies else (),
            commands=self._commands(system.not_enabled(place)),
        )

    def _commands(self, not_enabled: Sequence[str]) -> dict[str, tuple[tuple[str, ...], ...]]:
        place = self._place
        return {
            "user": (system.tool(place, "systemd-sysusers", "touchline.conf"),),
            "folders": (system.tool(place, "systemd-tmpfiles", "--create", "touchline.conf"),),
            "enable": (system.tool(place, "systemctl", "enable", "--quiet", *not_enabled),),
            "start": (
                ("systemctl", "daemon-reload"),
                ("systemctl", "reset-failed", "touchline-*"),
                ("systemctl", "restart", "--no-block", "touchline.target"),
            ),
        }

    def apply(self) -> bool:
        """Do what is needed; returns whether anything was."""
        steps = self.plan()
        changed = any(step.needed for step in steps)
        if changed:
            unsettle(self._place)
        for step in steps:
            if not step.needed:
                self._teller.step(step, "unchanged")
                continue
            began_ns = monotonic_ns()
            detail = self._do(step)
            self._teller.step(step, "done", detail, (monotonic_ns() - began_ns) / 1e9)
        if changed:
            settle(self._place, self._manifest.release)
        return changed

    def _do(self, step: Step) -> str:
        place, name = self._place, self._manifest.release
        if step.name == "release":
            assert self._python is not None
            return release.build(place, self._manifest, self._bundle, self._python)
        if step.name == "current":
            self._left = place.pointed("current")
            release.point(place, "current", name)
        elif step.name == "previous":
            before = self._left if self._options.rollback else place.pointed("current")
            assert before is not None
            release.point(place, "previous", before)
        elif step.name == "command":
            system.put_command(place)
        elif step.name == "files":
            self._put_files(name)
        elif step.name == "tidy":
            release.remove(place, release.superfluous(place, {name, place.pointed("previous")}))
        for argv in step.commands:
            system.call(argv)
        return ""

    def _put_files(self, name: str) -> None:
        place = self._place
        files = system.system_files(self._system)
        system.put_files(place, files, system.changed_files(place, files))
        left = place.pointed("previous")
        old = {} if left in {None, name} else system.system_files(place.here(place.release(str(left))) / "system")
        for path in system.stale_files(place, old, files):
            place.here(PurePosixPath(path)).unlink()


def _read_manifest(bundle: Path) -> Manifest:
    path = bundle / manifests.NAME
    if not path.is_file():
        raise InputError(f"{path} is missing", hint="run install.py from the unpacked bundle")
    return parse_manifest(path.read_bytes())
