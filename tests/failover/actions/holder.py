"""Holds addresses as the service does, until it is killed: interface, addresses, renewals a second."""

from __future__ import annotations

import sys

from failover.actions.address import VirtualAddress, parse_addresses
from touchline.timeline import monotonic_ns, sleep_until

if __name__ == "__main__":
    address = VirtualAddress(parse_addresses(sys.argv[2]), sys.argv[1])
    while True:
        address.hold()
        sys.stdout.write(f"{monotonic_ns()}\n")
        sys.stdout.flush()
        sleep_until(monotonic_ns() + 500_000_000)
