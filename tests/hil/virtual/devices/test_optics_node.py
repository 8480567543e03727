"""Twins look through the same optics: same frames, same instants, in the agent's own camera code and in its records."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from hil.virtual.node import VirtualNode
from hil.virtual.passenger.seat import OPTICS_PATH, UNIT
from hil.virtual.scene import RATE_HZ, frame_utc_ns
from hil.virtual.site import VirtualSite
from tests.hil.virtual.devices.optics_probe import ENOUGH, READING
from tests.hil.virtual.waiting import until
from touchline.timeline import TAI_MINUS_UTC_S

pytestmark = [pytest.mark.system, pytest.mark.virtual]

PROBE = Path(__file__).with_name("optics_probe.py")
PYTHON = "/opt/touchline/current/venv/bin/python"
HALF_NS = 10**9 // RATE_HZ // 2
EXACT_NS = 1_000_000
"""Most stamps against their instants: microseconds by design; two readings of clocks on a busy emulator are worse."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One frame as the agent's camera code gives it. ``shows``: the number in the picture, None when it is dark."""

    sequence: int
    utc_ns: int
    bound_ns: int
    shows: int | None
    sha: str

    @property
    def frame(self) -> int:
        """The frame of the grid that is nearest to its stamp."""
        return round(self.utc_ns * RATE_HZ / 10**9)

    @property
    def off_ns(self) -> int:
        """How far its stamp is off that."""
        return self.utc_ns - frame_utc_ns(self.frame)


def read(node: VirtualNode, frames: int) -> list[Seen]:
    """Read with the agent's camera and clock; the agent itself is stopped."""
    out = node.run(f"cd /tmp; {PYTHON} optics_probe.py {OPTICS_PATH} {frames}", timeout_s=180.0).out
    return [Seen(**json.loads(line)) for line in out.splitlines()]


@contextmanager
def reading(site: VirtualSite, frames: int) -> Iterator[dict[str, Future[list[Seen]]]]:
    """Both nodes read at the same time, at most so many frames; goes on once both have their first."""
    for node in site.nodes.values():
        node.run(f"systemctl stop --no-block {UNIT}; rm -f {READING} {ENOUGH}")
        node.guest.write_file("/tmp/optics_probe.py", PROBE.read_bytes())
    for node in site.nodes.values():
        node.run(f"systemctl stop {UNIT}", timeout_s=120.0)
    with ThreadPoolExecutor(len(site.nodes)) as pool:
        futures = {seat: pool.submit(read, node, frames) for seat, node in site.nodes.items()}
        for seat, node in site.nodes.items():
            until(lambda node=node, seat=seat: futures[seat].done() or exists(node, READING), "a first frame", node)  # type: ignore[misc]
        yield futures


def exists(node: VirtualNode, path: Path) -> bool:
    return node.run(f"test -e {path}", check=False).exit_code == 0


def common(first: list[Seen], second: list[Seen]) -> tuple[dict[int, Seen], dict[int, Seen]]:
    """What both saw in the time when both were reading, by frame; each frame once."""
    begin = max(first[0].frame, second[0].frame)
    end = min(first[-1].frame, second[-1].frame)
    cut = [{one.frame: one for one in seen if begin <= one.frame <= end} for seen in (first, second)]
    assert [len(frames) for frames in cut] == [
        sum(begin <= one.frame <= end for one in seen) for seen in (first, second)
    ]
    assert end - begin > 2 * RATE_HZ, "the nodes hardly read at the same time"
    return cut[0], cut[1]


@pytest.mark.virtual(tidy=True)
def test_both_publish_and_each_exposure_is_kept_once(virtual_twins: VirtualSite):
    rack, nodes = virtual_twins.rack, list(virtual_twins.nodes.values())
    for node in nodes:
        until(lambda node=node: node.agent_status().get("link", {}).get("phase") == "open", "link", node)  # type: ignore[misc]
    queued = [node.agent_status()["queued"] for node in nodes]
    until(lambda: bool(stored_ns(virtual_twins)), "a record at the rack", nodes[0])
    newest_ns = stored_ns(virtual_twins)[-1]
    settled_ns = newest_ns + 3 * 10**9  # the snapshot's own clock is over, and the agents have looked at the new one
    until(lambda: len(stored_ns(virtual_twins, settled_ns)) > 60, "frames at the rack", nodes[0])
    for node, before in zip(nodes, queued, strict=True):
        until(lambda node=node, before=before: node.agent_status()["queued"] > before + 60, "records", node)  # type: ignore[misc]
    exposures = [at_ns - TAI_MINUS_UTC_S * 10**9 for at_ns in stored_ns(virtual_twins, settled_ns)]
    frames = [round(at_ns * RATE_HZ / 10**9) for at_ns in exposures]
    hold_stamped([at - frame_utc_ns(frame) for at, frame in zip(exposures, frames, strict=True)])
    assert len(set(frames)) == len(frames), "one frame, one exposure, whoever published it"
    assert rack.audit().clean


def test_both_see_the_same_frames_at_the_same_instants_and_go_dark_at_the_same_one(virtual_twins: VirtualSite):
    optics = virtual_twins.optics
    with reading(virtual_twins, 3600) as futures:
        dark = optics.cover(lead_s=8.0)
        light = optics.uncover(lead_s=9.5)
        for node in virtual_twins.nodes.values():
            node.run(f"echo {light + RATE_HZ} > {ENOUGH}")
        a, b = (futures[seat].result() for seat in "ab")
    assert light - dark > RATE_HZ
    for seen in (a, b):
        assert seen[0].frame < dark < light < seen[-1].frame, "the reading began too late or ended too soon"
        assert [one.shows for one in seen] == [None if dark <= one.frame < light else one.frame for one in seen]
        hold_exact(seen)
    hold_alike(*common(*([one for one in seen if one.frame < dark] for seen in (a, b))))


def hold_exact(seen: list[Seen]) -> None:
    """One node's frames: in order, each once, stamped with the instants of the grid."""
    assert [one.sequence for one in seen] == sorted({one.sequence for one in seen})
    hold_stamped([one.off_ns for one in seen])
    assert max(one.bound_ns for one in seen) > 0


def hold_stamped(off_ns: list[int]) -> None:
    """What stamps are off their instants: exact but for those whose clock reading the busy emulator interrupted."""
    off_ns = sorted(map(abs, off_ns))
    assert off_ns[len(off_ns) // 2] < EXACT_NS
    assert off_ns[-1] < HALF_NS


def hold_alike(first: dict[int, Seen], second: dict[int, Seen]) -> None:
    """The frames of two nodes: the same pictures at the same instants."""
    both = first.keys() & second.keys()
    assert len(both) > RATE_HZ, "a busy host loses frames, but not all that both could have seen"
    assert {first[frame].sha == second[frame].sha for frame in both} == {True}
    assert len({first[frame].sha for frame in both}) == len(both), "every frame is another picture"
    apart_ns = [abs(first[frame].utc_ns - second[frame].utc_ns) for frame in both]
    assert max(apart_ns) < HALF_NS
    assert sorted(apart_ns)[len(apart_ns) // 2] < EXACT_NS


@pytest.mark.skipif(not os.environ.get("TOUCHLINE_CAMPAIGN"), reason="a minute of boot: TOUCHLINE_CAMPAIGN=1")
def test_after_a_power_cut_the_camera_is_there_before_the_agent(virtual_twins: VirtualSite):
    optics, a = virtual_twins.optics, virtual_twins.node("a")
    optics.show(people=3, lead_s=10.0)
    a.power_cut(seed=5)
    a.boot()
    a.await_agent()
    assert a.unit("NRestarts")["NRestarts"] == "0"
    assert OPTICS_PATH in a.agent_status()["children"]["capture0"]["source"]
    optics.refresh()
    with reading(virtual_twins, 90) as futures:
        seen = [future.result() for future in futures.values()]
    shown = [{one.frame: one.sha for one in frames} for frames in seen]
    assert all(shown[0][frame] == shown[1][frame] for frame in shown[0].keys() & shown[1].keys())


def stored_ns(site: VirtualSite, after_ns: int = 0) -> list[int]:
    """Exposure times that the rack has, of all nodes."""
    with closing(sqlite3.connect(f"file:{site.rack.database}?mode=ro", uri=True, timeout=10.0)) as store:
        rows = store.execute("SELECT DISTINCT ptp_ns FROM records WHERE ptp_ns > ? ORDER BY ptp_ns", (after_ns,))
        return [int(row[0]) for row in rows]
