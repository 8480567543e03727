"""Facts and what is wanted to rows: as it is, as it shall be, and what is between them. Pure.

The clocks' governor is left alone in all cases: clocks belong to the thermal room.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Final

from flash.tune.cpus import format_cpus, parse_cpus
from flash.tune.facts import Facts, Interrupt, Kind, Knob
from flash.tune.undo import Refusal, Undo
from touchline.config.node import ProcessSection
from touchline.config.tune import Need, TuneSection

NO_RIGHTS: Final = "EPERM"  # in the reason of a refusal


class State(str, Enum):
    """Where one setting stands."""

    SAME = "same"  # as wanted
    DIFFERS = "differs"  # to be written
    RESTORE = "restore"  # changed by an earlier run, no longer wanted: to be put back
    REFUSED = "refused"  # differs, and the kernel refused just this value before
    ABSENT = "absent"  # this machine has it not
    BEYOND = "beyond"  # more than this machine's device takes: never written
    FOREIGN = "foreign"  # somebody else's program works against it


@dataclass(frozen=True, slots=True)
class Row:
    """One setting: now, wanted and why. ``now`` and ``want`` are texts of the kernel's file.

    ``least``: more is as good. ``costly``: writing it interrupts the link, so what was refused is not tried again.
    """

    key: str
    path: str
    kind: Kind
    now: str
    want: str
    state: State
    need: Need
    note: str = ""
    least: bool = False
    costly: bool = False

    @property
    def to_write(self) -> bool:
        """Whether an apply writes it. What was refused is tried again: a driver may have been loaded anew.

        Not where a try costs the link, unless it was for want of rights: then the card was never asked.
        """
        again = not self.costly or NO_RIGHTS in self.note
        return self.state in {State.DIFFERS, State.RESTORE} or (self.state is State.REFUSED and again)

    @property
    def wrong(self) -> bool:
        """Whether a check fails for it."""
        if self.state in {State.ABSENT, State.REFUSED}:
            return self.need == "required"
        return self.state is not State.SAME


@dataclass(frozen=True, slots=True)
class Plan:
    """All rows and what a person may want to know beside them."""

    rows: tuple[Row, ...]
    advice: tuple[str, ...] = ()

    @property
    def wrong(self) -> list[Row]:
        """Rows for which a check fails."""
        return [row for row in self.rows if row.wrong]

    @property
    def to_write(self) -> list[Row]:
        """Rows that an apply writes."""
        return [row for row in self.rows if row.to_write]

    @property
    def missing(self) -> list[Row]:
        """Rows that are required and cannot be set at all."""
        never = {State.ABSENT, State.FOREIGN, State.BEYOND}
        return [row for row in self.rows if row.need == "required" and row.state in never]


GROUPS: Final = ("camera", "network")


def canonical(kind: Kind, text: str) -> str:
    """The text as the kernel would write it back; ValueError when it is none of its kind."""
    return format_cpus(parse_cpus(text)) if kind == "cpus" else str(int(text.strip(), 10))


def same(kind: Kind, left: str, right: str) -> bool:
    """Whether two texts mean the same to the kernel: ``0,1,2`` and ``0-2``."""
    try:
        return canonical(kind, left) == canonical(kind, right)
    except ValueError:
        return left.strip() == right.strip()


def enough(found: str, least: str) -> bool:
    """Whether a number is at least another."""
    return found.strip().isdecimal() and int(found) >= int(least)


def plan(facts: Facts, tune: TuneSection, process: ProcessSection, undo: Undo, interfaces: Sequence[str] = ()) -> Plan:
    """What is to be done on this machine; ``interfaces``: those whose rings count when [tune] names none."""
    rows = [
        *_interrupt_rows(facts, tune, process),
        *_idle_rows(facts, tune),
        *_buffer_rows(facts, tune),
        *_ring_rows(facts, tune, tune.ring_interfaces or interfaces),
    ]
    rows = [_known_refusal(row, undo.refused) for row in rows]
    return Plan((*rows, *_released(facts, rows, undo)), tuple(_governor_advice(facts)))


def _row(knob: Knob, want: str, need: Need, note: str = "") -> Row:
    if knob.raw is None:
        return Row(knob.key, knob.path, knob.kind, "", want, State.ABSENT, need, knob.trouble)
    state = State.SAME if same(knob.kind, knob.raw, want) else State.DIFFERS
    return Row(knob.key, knob.path, knob.kind, knob.raw, want, state, need, note)


def _absent(key: str, need: Need, note: str) -> Row:
    return Row(key, "", "cpus", "", "", State.ABSENT, need, note)


# --- interrupts ---------------------------------------------------------------------------------------------------


def group_of(interrupt: Interrupt, tune: TuneSection) -> str:
    """``camera``, ``network`` or empty. Cameras first: a name that is in both lists is a camera's."""
    tables: Mapping[str, Sequence[str]] = {"camera": tune.camera_interrupts, "network": tune.network_interrupts}
    for group in GROUPS:
        if any(re.search(pattern, interrupt.name) for pattern in tables[group]):
            return group
    return "network" if interrupt.owner else ""


def cpus_of(group: str, tune: TuneSection, process: ProcessSection) -> frozenset[int]:
    """CPUs that shall serve a group: its own list, else those of the process that its data wakes."""
    if group == "camera":
        return frozenset(tune.camera_cpus or process.capture_cpus)
    return frozenset(tune.network_cpus or process.publisher_cpus)


def _interrupt_rows(facts: Facts, tune: TuneSection, process: ProcessSection) -> Iterator[Row]:
    if tune.irq == "off":
        return
    wanted = False
    for group in GROUPS:
        key, cpus = f"irq/{group}", cpus_of(group, tune, process)
        fitting = cpus & facts.online
        members = [one for one in facts.interrupts if group_of(one, tune) == group]
        user = "capture_cpus" if group == "camera" else "publisher_cpus"
        if not cpus:
            yield _absent(key, tune.irq, f"no CPUs named: set tune.{group}_cpus or process.{user}")
        elif not fitting:
            yield _absent(
                key, tune.irq, f"CPUs {format_cpus(cpus)} are not online (online: {format_cpus(facts.online)})"
            )
        elif not members:
            yield _absent(key, tune.irq, f"no line of /proc/interrupts matches tune.{group}_interrupts")
        else:
            wanted = True
            for one in members:
                yield _row(one.affinity, format_cpus(fitting), tune.irq, _served(one))
    if wanted and facts.irqbalance is not None:
        note = "it moves interrupts back: systemctl disable --now irqbalance"
        yield Row("irqbalance", "", "number", f"process {facts.irqbalance}", "stopped", State.FOREIGN, tune.irq, note)


def _served(one: Interrupt) -> str:
    owner = f"{one.owner}; " if one.owner and one.owner not in one.name else ""
    return f"{owner}served by CPU {one.effective}" if one.effective else owner.rstrip("; ")


# --- idle states, buffers, rings --------------------------------------------------------------------------------------


def _idle_rows(facts: Facts, tune: TuneSection) -> Iterator[Row]:
    if tune.idle == "off":
        return
    cpus = frozenset(tune.idle_cpus) or facts.present
    states = [one for one in facts.idle if one.cpu in cpus]
    if not states:
        where = f" on CPUs {format_cpus(tune.idle_cpus)}" if tune.idle_cpus else ""
        yield _absent("idle", tune.idle, f"this machine offers no idle states{where} (no cpuidle driver)")
    for one in states:
        if one.latency_us > tune.idle_latency_us:
            yield _row(one.disable, "1", tune.idle, f"{one.latency_us} us back")


def _buffer_rows(facts: Facts, tune: TuneSection) -> Iterator[Row]:
    if tune.buffers == "off":
        return
    for name, least in (("rmem_max", tune.rmem_max_bytes), ("rmem_default", tune.rmem_default_bytes)):
        if not least:
            continue
        yield _at_least(_row(facts.buffers[name], str(least), tune.buffers, "at least"))


def _ring_rows(facts: Facts, tune: TuneSection, interfaces: Sequence[str]) -> Iterator[Row]:
    if tune.ring == "off" or not tune.rx_ring:
        return
    here = {one.interface: one for one in facts.rings}
    if not interfaces:
        yield _absent("ring", tune.ring, "no interface named: set tune.ring_interfaces")
    for interface in dict.fromkeys(interfaces):
        one = here.get(interface)
        if one is None:
            names = ", ".join(sorted(here)) or "none"
            yield _absent(f"ring/{interface} rx", tune.ring, f"there is no interface {interface} (there are: {names})")
            continue
        row = _at_least(_row(one.rx, str(tune.rx_ring), tune.ring, f"at least, of {one.most} that it takes"))
        row = replace(row, costly=True)
        if row.state is State.DIFFERS and tune.rx_ring > one.most:
            note = f"{interface} takes 1 to {one.most} packets: set tune.rx_ring to that or less"
            row = replace(row, state=State.BEYOND, note=note)
        yield row


def _at_least(row: Row) -> Row:
    if row.state is State.DIFFERS and enough(row.now, row.want):
        return replace(row, state=State.SAME, want=row.now, least=True)
    return replace(row, least=True)


# --- what earlier runs left -----------------------------------------------------------------------------------------


def _known_refusal(row: Row, refused: Mapping[str, Refusal]) -> Row:
    known = refused.get(row.key)
    if row.state is State.DIFFERS and known is not None and same(row.kind, known.want, row.want):
        return replace(row, state=State.REFUSED, note=known.why)
    return row


def _released(facts: Facts, rows: Sequence[Row], undo: Undo) -> Iterator[Row]:
    """Settings that an earlier run changed and that nobody wants any more."""
    wanted, knobs = {row.key for row in rows}, facts.knobs()
    for key, entry in undo.entries.items():
        knob = knobs.get(key)
        if key not in wanted and knob is not None and knob.raw is not None:
            row = _row(knob, entry.original, "auto", "no longer wanted: back to what it was")
            yield replace(row, state=State.RESTORE)


def _governor_advice(facts: Facts) -> Iterator[str]:
    if facts.governors:
        yield f"CPU clocks (governor {', '.join(facts.governors)}) are left alone: they belong to the thermal room"
