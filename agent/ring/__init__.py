"""The frame ring: locked shared memory between one writer and many readers in other processes."""

from agent.ring.core import RingSpec
from agent.ring.ledger import ReaderLedger, RingLedger
from agent.ring.memory import LockPolicy
from agent.ring.reader import RingFrame, RingReader, WriterGone
from agent.ring.ring import Ring, RingFds
from agent.ring.writer import RingWriter

__all__ = [
    "LockPolicy",
    "ReaderLedger",
    "Ring",
    "RingFds",
    "RingFrame",
    "RingLedger",
    "RingReader",
    "RingSpec",
    "RingWriter",
    "WriterGone",
]
