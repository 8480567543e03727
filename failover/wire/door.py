"""How much work strangers may cause: token buckets, pure. What verifies under a channel never passes through here."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

NS_PER_S: Final = 1_000_000_000
MAX_SOURCES: Final = 256


class Bucket:
    """Lets ``rate_hz`` things through in the long run, ``burst`` at once."""

    __slots__ = ("_burst", "_full_ns", "_period_ns", "_since_ns")

    def __init__(self, rate_hz: float, burst: int) -> None:
        self._period_ns = round(NS_PER_S / rate_hz)
        self._burst = burst
        self._full_ns = burst * self._period_ns
        self._since_ns: int | None = None  # the tokens there are, as the time in which they grew

    def take(self, now_ns: int) -> bool:
        """Take a token; False when there is none."""
        if self._since_ns is None:
            self._since_ns = now_ns - self._full_ns
        self._since_ns = max(self._since_ns, now_ns - self._full_ns)
        if now_ns - self._since_ns < self._period_ns:
            return False
        self._since_ns += self._period_ns
        return True


class Door:
    """Who may knock how often: each host by itself, hosts that nobody vouches for together, and new certificates.

    A host is vouched for when it is configured, or when something authentic came from it; strangers, however many
    addresses they make up, then cannot use up its share.
    """

    def __init__(self, vouched: tuple[str, ...] = ()) -> None:
        self._vouched: OrderedDict[str, Bucket] = OrderedDict((host, Bucket(100.0, 40)) for host in vouched)
        self._hosts: OrderedDict[str, Bucket] = OrderedDict()
        self._strangers = Bucket(100.0, 50)
        self._certificates = Bucket(20.0, 10)

    def knock(self, host: str, now_ns: int) -> bool:
        """Whether a datagram of this host that proves nothing may be looked at."""
        vouched = self._vouched.get(host)
        if vouched is not None:
            return vouched.take(now_ns)
        bucket = self._hosts.pop(host, None) or Bucket(50.0, 20)
        self._hosts[host] = bucket
        while len(self._hosts) > MAX_SOURCES:
            self._hosts.popitem(last=False)
        return bucket.take(now_ns) and self._strangers.take(now_ns)

    def new_certificate(self, now_ns: int) -> bool:
        """Whether one more certificate may be checked: about 0.1 ms each."""
        return self._certificates.take(now_ns)

    def vouch(self, host: str) -> None:
        """Something authentic came from this host."""
        if host not in self._vouched:
            self._vouched[host] = Bucket(100.0, 40)
            while len(self._vouched) > MAX_SOURCES:
                self._vouched.popitem(last=False)
