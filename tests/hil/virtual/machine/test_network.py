"""The virtual network: made, used, taken, removed, and swept when its owner died."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from hil.rack.broker import inside
from hil.virtual.machine import network
from hil.virtual.machine.network import Network
from touchline.errors import ResourceError

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(
        os.geteuid() != 0 or not Path("/dev/net/tun").exists(), reason="virtual networks need root and /dev/net/tun"
    ),
]

NAME = f"t{os.getpid()}"
NAMESPACE = f"tlv-{NAME}"


def test_a_network_has_the_racks_address_and_taps_that_vanish_with_their_holder():
    with Network(NAME) as net:
        shown = subprocess.run(
            [*inside(net.namespace), "ip", "-br", "addr"], capture_output=True, text=True, check=True
        )
        assert "10.77.0.1/24" in shown.stdout
        tap = net.open_tap("a")
        assert network.inspect(NAMESPACE) == network.NetworkState(NAMESPACE, owner_dead=False, taps=1, processes=0)
        with pytest.raises(ResourceError, match="cannot make tap-a"):
            net.open_tap("a")
        os.close(tap)
        assert network.inspect(NAMESPACE).taps == 0
    assert NAMESPACE not in network.namespaces()


def test_a_name_in_use_is_refused():
    with Network(NAME), pytest.raises(ResourceError, match=f"the network {NAMESPACE} is in use"):
        Network(NAME).open()


def test_what_a_dead_owner_left_is_swept():
    program = (
        f"from hil.virtual.machine.network import Network; Network('{NAME}').open(); print('open', flush=True); input()"
    )
    owner = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert owner.stdout is not None
    assert owner.stdout.readline() == b"open\n"
    assert NAMESPACE not in network.sweep()
    owner.send_signal(signal.SIGKILL)
    owner.communicate()
    assert network.inspect(NAMESPACE).stale
    assert NAMESPACE in network.sweep()
    assert NAMESPACE not in network.namespaces()


def test_no_root_is_said(monkeypatch):
    monkeypatch.setattr("hil.virtual.machine.network.os.geteuid", lambda: 1000)
    with pytest.raises(ResourceError, match="virtual networks need root"):
        Network(NAME).open()


def test_an_interface_name_too_long_is_a_fault_of_the_caller():
    with Network(NAME) as net, pytest.raises(ValueError, match="no name for an interface"):
        net.open_tap("a-very-long-seat")
