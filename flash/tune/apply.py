"""Apply a plan and undo it: originals first, then each value written, read back and judged."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from errno import EINVAL

from flash.tune.facts import Facts, errno_name
from flash.tune.plan import Plan, Row, State, enough, same
from flash.tune.rings import interface_of
from flash.tune.tree import Tree
from flash.tune.undo import Entry, Refusal, Undo
from touchline.errors import HardwareError, ResourceError


class Done(str, Enum):
    """What became of one row."""

    UNCHANGED = "unchanged"
    CHANGED = "changed"
    RESTORED = "restored"
    REFUSED = "refused"
    ABSENT = "absent"
    FOREIGN = "foreign"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class Outcome:
    """One row's end. ``why``: the kernel's reason where it refused."""

    row: Row
    done: Done
    why: str = ""


Save = Callable[[Undo], None]

_QUIET = {State.SAME: Done.UNCHANGED, State.ABSENT: Done.ABSENT, State.FOREIGN: Done.FOREIGN}
_LEFT = {State.BEYOND, State.REFUSED}  # not written, and said again each time


def check_required(plan: Plan) -> None:
    """Raise before anything is written when a required setting cannot be had on this machine."""
    if plan.missing:
        lines = "; ".join(f"{row.key}: {row.note or 'absent'}" for row in plan.missing)
        raise HardwareError(
            f"required and not to be had: {lines}", hint='put that right, or say "auto" for it in [tune]'
        )


def apply(tree: Tree, plan: Plan, undo: Undo, save: Save) -> list[Outcome]:
    """Bring the machine to the plan. ``save`` puts the undo file onto the disk and is called before the first write.

    A value that the kernel refuses does not stop the others; :func:`check_outcomes` judges afterwards.
    """
    check_required(plan)
    fresh = {row.key: Entry(row.path, row.kind, row.now) for row in plan.to_write if row.state is not State.RESTORE}
    kept = undo.with_originals(fresh)
    if kept != undo:
        save(kept)
    outcomes = [_one(tree, row) for row in plan.rows]
    after = _after(kept, undo, outcomes)
    if after != kept:
        save(after)
    return outcomes


def _one(tree: Tree, row: Row) -> Outcome:
    if row.state in _LEFT and not row.to_write:
        return Outcome(row, Done.REFUSED, row.note)
    if not row.to_write:
        return Outcome(row, _QUIET[row.state])
    why = write(tree, row)
    if why:
        return Outcome(row, Done.REFUSED, why)
    return Outcome(row, Done.RESTORED if row.state is State.RESTORE else Done.CHANGED)


def write(tree: Tree, row: Row) -> str:
    """Write the wanted value and read it back; returns why it did not work, or nothing."""
    try:
        tree.write(row.path, row.want)
        found = tree.read(row.path)
    except PermissionError as error:
        if errno_name(error) == "EACCES":  # no root; EPERM is the kernel's own refusal
            raise ResourceError(f"{row.path} may not be written by this user", hint="run it with sudo") from error
        return "the kernel refuses it (EPERM)"
    except OSError as error:
        powers = "; many drivers take powers of two only" if interface_of(row.path) and error.errno == EINVAL else ""
        return f"the kernel refuses it ({errno_name(error)}){powers}"
    if found is None:
        return "gone while it was written"
    kept = same(row.kind, found, row.want) or (row.least and enough(found, row.want))
    return "" if kept else f"the kernel kept {found.strip()}"


def _after(kept: Undo, before: Undo, outcomes: list[Outcome]) -> Undo:
    """The undo file when all is written: without what was put back, or never changed; with what was refused."""
    entries, refused = dict(kept.entries), dict(kept.refused)
    for outcome in outcomes:
        key = outcome.row.key
        refused.pop(key, None)
        if outcome.done is Done.RESTORED:
            entries.pop(key, None)
        elif outcome.done is Done.REFUSED and outcome.row.state is not State.BEYOND:
            refused[key] = Refusal(outcome.row.want, outcome.why)
            if key not in before.entries and not outcome.why.startswith("the kernel kept"):
                entries.pop(key, None)
    return Undo(kept.boot_id, entries, refused)


def check_outcomes(outcomes: list[Outcome]) -> None:
    """Raise for required values that were refused, and for any that no device of this machine could take."""
    grave = {State.RESTORE, State.BEYOND}
    refused = [one for one in outcomes if one.done is Done.REFUSED]
    failed = [one for one in refused if one.row.need == "required" or one.row.state in grave]
    if failed:
        lines = "; ".join(f"{one.row.key} = {one.row.want}: {one.why}" for one in failed)
        beyond = all(one.row.state is State.BEYOND for one in failed)
        hint = "write a value within the range" if beyond else 'find out why, or say "auto" for it in [tune]'
        raise HardwareError(f"not set: {lines}", hint=hint)


# --- the way back -------------------------------------------------------------------------------------------------


def undo_rows(facts: Facts, undo: Undo) -> list[Row]:
    """What the way back would write; settings whose thing is gone, or is another's now, are named as absent."""
    knobs = facts.knobs()
    rows = []
    for key, entry in undo.entries.items():
        knob = knobs.get(key)
        if knob is None or knob.raw is None:
            note = "it is gone, or its number is another's now: nothing to put back"
            rows.append(Row(key, entry.path, entry.kind, "", entry.original, State.ABSENT, "auto", note))
        else:
            state = State.SAME if knob.raw == entry.original else State.RESTORE
            rows.append(Row(key, knob.path, entry.kind, knob.raw, entry.original, state, "auto"))
    return rows


def put_back(tree: Tree, facts: Facts, undo: Undo, save: Save) -> list[Outcome]:
    """Restore every original; what is refused stays in the file for another try."""
    outcomes = []
    left: Mapping[str, Entry] = dict(undo.entries)
    for row in undo_rows(facts, undo):
        if row.state is State.ABSENT:
            outcomes.append(Outcome(row, Done.GONE))
        elif row.state is State.SAME:
            outcomes.append(Outcome(row, Done.UNCHANGED))
        else:
            why = write(tree, row)
            outcomes.append(Outcome(row, Done.REFUSED if why else Done.RESTORED, why))
        if outcomes[-1].done is not Done.REFUSED:
            left = {key: entry for key, entry in left.items() if key != row.key}
    save(Undo(undo.boot_id, left))
    return outcomes
