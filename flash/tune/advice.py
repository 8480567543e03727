"""What a person should know of the CPU sets in ``[process]``: they are the agent's, so here is advice alone. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from flash.tune.cpus import format_cpus, parse_cpus
from flash.tune.facts import Facts
from flash.tune.plan import group_of
from touchline.config.node import ProcessSection
from touchline.config.tune import TuneSection

FEWEST_CPUS = 4  # with less there is nothing to set aside
_MOST_NAMES = 4


def propose(online: frozenset[int], cameras: int) -> dict[str, list[int]] | None:
    """CPU sets for this machine: the first CPU for the kernel and all else, then publisher, capture, inference.

    The first stays free of ours: interrupts that cannot be moved are served there (JetPack 6: those of all PCIe cards).
    """
    cpus = sorted(online)
    if len(cpus) < FEWEST_CPUS:
        return None
    capture = max(1, min(cameras, len(cpus) // 6))
    rest = cpus[1:]
    publisher = 1 if len(cpus) > FEWEST_CPUS else 0  # of four CPUs it shares the first
    return {
        "publisher_cpus": rest[:publisher] or cpus[:1],
        "capture_cpus": rest[publisher : publisher + capture],
        "inference_cpus": rest[publisher + capture :],
    }


def advise(facts: Facts, tune: TuneSection, process: ProcessSection, cameras: int) -> tuple[str, ...]:
    """Lines of advice, the gravest first."""
    return (*_impossible(facts, process), *_crossed(facts, tune, process), *_unset(facts, process, cameras))


def _sets(process: ProcessSection) -> dict[str, frozenset[int]]:
    names = ("capture_cpus", "inference_cpus", "publisher_cpus")
    return {name: frozenset(getattr(process, name)) for name in names}


def _impossible(facts: Facts, process: ProcessSection) -> Iterator[str]:
    for name, cpus in _sets(process).items():
        missing, offline = cpus - facts.present, (cpus & facts.present) - facts.online
        if missing:
            yield (
                f"process.{name} names CPU {format_cpus(missing)}, and this machine has {format_cpus(facts.present)}: "
                "take it out"
            )
        if offline:
            yield f"process.{name}: CPU {format_cpus(offline)} is offline; another power mode (nvpmodel) brings it back"


def _crossed(facts: Facts, tune: TuneSection, process: ProcessSection) -> Iterator[str]:
    sets = _sets(process)
    capture, inference = sets["capture_cpus"], sets["inference_cpus"]
    if capture & inference:
        yield (
            f"capture and inference share CPU {format_cpus(capture & inference)}: a frame then waits for an inference; "
            "give each its own"
        )
    if 0 in capture and len(facts.online) >= FEWEST_CPUS:
        yield "capture uses CPU 0, where interrupts that cannot be moved are served: take another"
    if facts.isolated and capture and not capture <= facts.isolated:
        yield f"CPUs {format_cpus(facts.isolated)} are isolated by the kernel's command line and capture is not on them"
    guests = [
        one.name for one in facts.interrupts if _cpus(one.effective) & capture and group_of(one, tune) != "camera"
    ]
    if guests:
        names = ", ".join(guests[:_MOST_NAMES]) + (" ..." if len(guests) > _MOST_NAMES else "")
        yield f"capture CPUs also serve {len(guests)} interrupts that are no camera's: {names}"


def _unset(facts: Facts, process: ProcessSection, cameras: int) -> Iterator[str]:
    proposal = propose(facts.online, cameras)
    if proposal is None:
        yield f"{len(facts.online)} CPUs are too few to set any aside"
        return
    empty = [name for name, cpus in _sets(process).items() if not cpus]
    if empty:
        text = ", ".join(f"{name} = {proposal[name]}" for name in empty)
        yield f"[process] leaves CPUs to the scheduler; for {cameras} cameras here: {text}"


def _cpus(text: str) -> frozenset[int]:
    try:
        return parse_cpus(text)
    except ValueError:
        return frozenset()
