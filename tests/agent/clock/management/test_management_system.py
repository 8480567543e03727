"""The client beside pmc at a real ptp4l: every data set field by field, pushes, restarts, what a hanging client does.

TOUCHLINE_PTP4L and TOUCHLINE_PMC choose the linuxptp; 3.1.1 and 4.2 both pass.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import pytest

from agent.clock.management import (
    DATA_SETS,
    CurrentDataSet,
    DataSet,
    DefaultDataSet,
    Event,
    ManagementClient,
    NoAnswer,
    NoSuchId,
    NotSupported,
    ParentDataSet,
    PortDataSet,
    PortHwclockNp,
    PortIdentity,
    PortPropertiesNp,
    PortState,
    PortStatsNp,
    SubscribeEventsNp,
    TimeStatusNp,
    Unreachable,
    WrongValue,
)
from agent.clock.management.client import SAFE_UNREAD
from agent.clock.management.inbox import Notification
from tests.agent.clock.management.pmc_text import parse, shown, without_later_events
from tests.agent.clock.ptp_net import Ptp4l, PtpNet, linuxptp_version, wait_until, why_not
from touchline.timeline import monotonic_ns, sleep_until

pytestmark = pytest.mark.system


def since_4() -> bool:
    return linuxptp_version() >= (4,)


@pytest.fixture(scope="module")
def pair(tmp_path_factory) -> Iterator[tuple[PtpNet, Ptp4l, Path]]:
    """A grandmaster and a node that follows it and calls itself locked; and a folder for the client's socket."""
    reason = why_not()
    if reason:
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("mgmt")
    with PtpNet(folder / "net") as net:
        net.start_ptp4l("gm", {"clockClass": 6, "clockAccuracy": "0x21", "timeSource": "0x20"})
        node = net.start_ptp4l("node", {"announceReceiptTimeout": 10})  # a busy machine must not make it a master
        node.wait_for("UNCALIBRATED")
        net.certain("node")
        node.wait_for("to SLAVE")
        yield net, node, folder


@pytest.fixture
def client(pair) -> Iterator[ManagementClient]:
    _, node, folder = pair
    with ManagementClient(node.socket, folder=folder, timeout_s=20.0) as made:
        yield made


def beside_pmc(net: PtpNet, client: ManagementClient, kind: type[DataSet]) -> tuple[dict[str, str], list[DataSet]]:
    """What pmc said, and every value that we saw from before it was started until after it ended."""
    seen = [client.get(kind)]
    line = net.pmc_line("node", f"GET {kind.NAME}")
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as pmc:
        while pmc.poll() is None:
            now = client.get(kind)
            if now != seen[-1]:
                seen.append(now)
        output, errors = pmc.communicate()
    seen.append(client.get(kind))
    answers = parse(output)
    assert len(answers) == 1, output + errors
    return answers[0], seen


def until(client: ManagementClient, kind: type[DataSet], event_s: float = 60.0) -> list[Notification]:
    """Poll until a notification of that kind came; all that came."""
    found: list[Notification] = []
    deadline_ns = monotonic_ns() + round(event_s * 1e9)
    while not any(isinstance(one.data, kind) for one in found):
        assert monotonic_ns() < deadline_ns, [one.data for one in found]
        found += client.poll(0.2)
    return found


@pytest.mark.parametrize(
    "kind", [kind for kind in DATA_SETS.values() if kind is not PortHwclockNp], ids=lambda k: k.NAME
)
def test_each_field_is_what_pmc_says(pair, client, kind):
    net, _, _ = pair
    said, seen = beside_pmc(net, client, kind)
    assert said in [without_later_events(shown(one), linuxptp_version()) for one in seen]
    assert len(client.get_all(kind)) == 1
    counters = client.counters
    assert (counters.late, counters.foreign, counters.malformed, counters.timeouts) == (0, 0, 0, 0)


def test_the_hardware_clock_is_what_pmc_says_or_no_such_id(pair, client):
    net, _, _ = pair
    if since_4():
        said, seen = beside_pmc(net, client, PortHwclockNp)
        assert said == shown(seen[0])
        assert client.get(PortHwclockNp).phc_index == -1
    else:
        with pytest.raises(NoSuchId, match="PORT_HWCLOCK_NP: NO_SUCH_ID"):
            client.get(PortHwclockNp)
        with pytest.raises(NotSupported):
            client.get_all(PortHwclockNp)


def test_the_values_make_sense(client):
    status = client.get(TimeStatusNp)
    parent = client.get(ParentDataSet)
    assert status.gm_present
    assert status.gm_identity == parent.grandmaster_identity
    assert parent.grandmaster_clock_class == 6
    offsets_ns, delays_ns = [], []
    for _ in range(9):
        sleep_until(monotonic_ns() + 130_000_000)  # to the next sync
        offsets_ns.append(client.get(TimeStatusNp).master_offset_ns)
        delays_ns.append(client.get(CurrentDataSet).mean_path_delay_ns)
    assert abs(median(offsets_ns)) < 1_000_000
    assert 0 < median(delays_ns) < 1_000_000
    assert client.get(PortPropertiesNp).interface == "eth0"
    assert client.get(PortDataSet).port_state is PortState.SLAVE
    assert client.get(PortStatsNp).by_name()["rx_sync"] > 0
    with pytest.raises(WrongValue, match="PORT_DATA_SET"):
        client.get(PortDataSet, 7)


def test_capabilities_tell_the_versions_apart(pair, client):
    found = client.capabilities()
    assert found.before_4 != since_4()
    assert (Event.TIME_SYNC in found.events) == since_4()
    assert found.minor_version == (1 if since_4() else 0)
    assert ("PORT_HWCLOCK_NP" in found.known) == since_4()
    assert not found.read_only
    assert found.management_port == PortIdentity(client.get(DefaultDataSet).clock_identity, 0)
    assert client.counters.timeouts == 0


def test_the_read_only_socket_gives_less_and_says_so(pair):
    _, node, folder = pair
    if node.read_only_socket is None:
        pytest.skip(f"linuxptp {linuxptp_version()} has no read-only socket: it came with 4.0")
    with ManagementClient(node.read_only_socket, folder=folder) as client:
        assert client.get(TimeStatusNp).gm_present
        for kind in (PortPropertiesNp, PortHwclockNp, SubscribeEventsNp):
            with pytest.raises(NotSupported):
                client.get(kind)
        with pytest.raises(NotSupported):
            client.subscribe([Event.PORT_STATE])
        found = client.capabilities()
        assert found.read_only
        assert not found.before_4
        assert found.events == frozenset()


def test_states_and_syncs_are_pushed_and_the_subscription_is_renewed(pair, client):
    net, _, _ = pair
    noted = client.subscribe([Event.PORT_STATE, Event.TIME_SYNC, Event.PARENT_DATA_SET], 4)
    assert noted == client.get(SubscribeEventsNp)
    begun_ns = monotonic_ns()
    found: list[Notification] = []
    net.certain("node", yes=False)
    found += until(client, PortDataSet)
    net.certain("node")
    while monotonic_ns() < begun_ns + 8_000_000_000:
        found += client.poll(0.1)
    took_s = (monotonic_ns() - begun_ns) / 1e9
    states = [one.data.port_state for one in found if isinstance(one.data, PortDataSet)]
    assert states == [PortState.UNCALIBRATED, PortState.SLAVE]
    syncs = [one.data for one in found if isinstance(one.data, TimeStatusNp)]
    if since_4():
        assert 5 <= len(syncs) / took_s <= 9  # 8 a second
        assert len({sync.ingress_time_ns for sync in syncs}) == len(syncs)
    else:
        assert syncs == []  # 3.1.1 notes the bit and never pushes
    counters = client.counters
    assert counters.sent >= 5  # one question and at least three renewals
    assert (counters.missed, counters.dropped, counters.late, counters.malformed) == (0, 0, 0, 0)
    client.unsubscribe()
    assert client.get(SubscribeEventsNp).events == frozenset()
    assert client.poll(0.3) == []


def test_a_new_parent_is_pushed_where_the_version_has_it(ptp_net, tmp_path):
    net = ptp_net("gm", "other", "node")
    for name in net.nodes:
        net.start_ptp4l(name)
    node = net.start_ptp4l("node")
    node.wait_for("UNCALIBRATED")
    with ManagementClient(node.socket, folder=tmp_path) as client:
        wait_until(lambda: client.get(ParentDataSet).grandmaster_priority1 == 100, 60.0)
        client.subscribe([Event.PORT_STATE, Event.PARENT_DATA_SET], 30)
        net.stop("gm")
        if since_4():
            parents = [one.data for one in until(client, ParentDataSet) if isinstance(one.data, ParentDataSet)]
            assert parents[-1].grandmaster_priority1 in (101, 102)
        wait_until(lambda: client.get(ParentDataSet).grandmaster_priority1 == 101, 60.0)
        pushed = [one for one in client.poll(0) if isinstance(one.data, ParentDataSet)]
        assert since_4() or pushed == []


def test_each_port_of_a_boundary_clock_answers(ptp_net, tmp_path):
    net = ptp_net("gm", "node")
    net.start_ptp4l("gm")
    net.ip("node", "link", "add", "eth1", "type", "veth", "peer", "name", "end")
    for name in ("eth1", "end"):
        net.ip("node", "link", "set", name, "up")
    node = net.start_ptp4l("node", interfaces=("eth0", "eth1"))
    with ManagementClient(node.socket, folder=tmp_path, timeout_s=60.0) as client:
        began_ns = monotonic_ns()
        ports = client.get_all(PortPropertiesNp)
        assert monotonic_ns() - began_ns < 30_000_000_000, "the end is seen, not waited for"
        assert sorted((port.port_identity.port, port.interface) for port in ports) == [(1, "eth0"), (2, "eth1")]
        assert client.get(PortPropertiesNp, 2).interface == "eth1"
        assert client.get(DefaultDataSet).number_ports == 2
        assert client.counters.late == 0


def test_the_same_client_goes_on_after_a_restart_and_a_kill(ptp_net, tmp_path):
    net = ptp_net("gm", "node")
    gm = net.start_ptp4l("gm")
    with ManagementClient(gm.socket, folder=tmp_path) as client:
        first = client.get(DefaultDataSet)
        client.subscribe([Event.PORT_STATE], 60)
        gm.stop()
        with pytest.raises(Unreachable, match="No such file"):
            client.get(DefaultDataSet)
        with pytest.raises(Unreachable):
            client.poll(0)
        gm = net.start_ptp4l("gm")
        assert client.get(DefaultDataSet) == first
        assert client.poll(0) == [] or client.counters.connects == 2
        until(client, PortDataSet)  # LISTENING to MASTER, pushed by the new one
        gm.kill()
        with pytest.raises(Unreachable, match="refused"):
            client.get(DefaultDataSet)
        net.start_ptp4l("gm")
        assert client.get(DefaultDataSet) == first
        assert client.counters.connects == 3


def test_a_ptp4l_that_hangs_is_no_answer_and_its_late_ones_harm_nothing(ptp_net, tmp_path):
    net = ptp_net("gm", "node")
    gm = net.start_ptp4l("gm")
    with ManagementClient(gm.socket, folder=tmp_path, timeout_s=0.2) as client:
        first = client.get(DefaultDataSet)
        gm.pause()
        for _ in range(3):
            with pytest.raises(NoAnswer, match="not hang"):
                client.get(TimeStatusNp)
        gm.resume()
        client._timeout_ns = 60_000_000_000
        assert client.get(DefaultDataSet) == first
        assert client.counters.late == 3


def test_another_transport_or_domain_is_silence_and_auto_finds_the_transport(ptp_net, tmp_path):
    net = ptp_net("gm", "node")
    gm = net.start_ptp4l("gm", {"transportSpecific": 1, "domainNumber": 24})
    for domain, transport in ((24, 0), (0, 1)):
        with (
            ManagementClient(
                gm.socket, folder=tmp_path, timeout_s=0.2, domain=domain, transport_specific=transport
            ) as client,
            pytest.raises(NoAnswer, match=f"domainNumber {domain} and transportSpecific {transport}"),
        ):
            client.get(TimeStatusNp)
    with ManagementClient(gm.socket, folder=tmp_path, domain=24, transport_specific="auto") as client:
        assert client.get(DefaultDataSet).domain_number == 24
        assert client.transport_specific == 1
        assert client.capabilities().transport_specific == 1


def test_a_net_leaves_nothing_behind(tmp_path):
    reason = why_not()
    if reason:
        pytest.skip(reason)
    with PtpNet(tmp_path, ("gm", "other", "node")) as net:
        running = [net.start_ptp4l(name) for name in net.nodes]
        names = [net.namespace(name) for name in net.nodes]
        assert all(Path("/run/netns", name).exists() for name in names)
        with pytest.raises(ValueError, match="free_running"):
            net.start_ptp4l("gm", {"free_running": 0})
    assert not any(one.running for one in running)
    assert not any(Path("/run/netns", name).exists() for name in names)


def test_a_client_that_stops_reading_does_not_stop_ptp4l_at_once(ptp_net, tmp_path):
    """ptp4l's sends block. An unconnected subscriber stops it after net.unix.max_dgram_qlen + 1 unread messages."""
    if not since_4():
        pytest.skip("linuxptp before 4.0 pushes port states only: too few to fill anything")
    net = ptp_net("gm", "node")
    net.start_ptp4l("gm", {"logSyncInterval": -5})
    node = net.start_ptp4l("node", {"logSyncInterval": -5})
    node.wait_for("UNCALIBRATED")
    hanging = ManagementClient(node.socket, folder=tmp_path)
    with hanging, ManagementClient(node.socket, folder=tmp_path) as client:
        wait_until(lambda: client.get(TimeStatusNp).ingress_time_ns != 0, 60.0)
        hanging.subscribe([Event.TIME_SYNC], 3)
        before = client.get(PortStatsNp).by_name()["rx_sync"]
        wait_until(lambda: client.get(PortStatsNp).by_name()["rx_sync"] > before + 60, 60.0)
        assert client.counters.timeouts == 0
        assert len(hanging.poll(0)) > 40
        assert hanging.counters.missed == 0


@pytest.mark.campaign
@pytest.mark.skipif(not os.environ.get("TOUCHLINE_CAMPAIGN"), reason="how much stops ptp4l: TOUCHLINE_CAMPAIGN=1")
def test_how_many_unread_notifications_stop_ptp4l(ptp_net, tmp_path, capsys):
    """The ground of SAFE_UNREAD: far more must fit than a subscription of :func:`safe_duration_s` can bring."""
    if not since_4():
        pytest.skip("linuxptp before 4.0 pushes port states only: too few to fill anything")
    net = ptp_net("gm", "node")
    net.start_ptp4l("gm", {"logSyncInterval": -6})
    node = net.start_ptp4l("node", {"logSyncInterval": -6})
    node.wait_for("UNCALIBRATED")
    hanging = ManagementClient(node.socket, folder=tmp_path)
    with hanging, ManagementClient(node.socket, folder=tmp_path, timeout_s=0.5) as client:
        wait_until(lambda: client.get(TimeStatusNp).ingress_time_ns != 0, 10.0)
        hanging.subscribe([Event.TIME_SYNC], 60)
        with pytest.raises(NoAnswer):
            wait_until(lambda: client.get(TimeStatusNp).ingress_time_ns == 0, 30.0)
        unread = len(hanging.poll(0))
        assert client.get(TimeStatusNp).gm_present
    with capsys.disabled():
        sys.stdout.write(f"\nptp4l {linuxptp_version()} stood still after {unread} unread, safe: {SAFE_UNREAD}\n")
    assert unread >= 2 * SAFE_UNREAD
