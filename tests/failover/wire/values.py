"""Hypothesis strategies of everything that goes over the wire."""

from __future__ import annotations

from hypothesis import strategies as st

from failover.core.types import MAX_CAMERAS, Beat, CameraCursor, Health, Role
from failover.wire.beats import (
    MAX_CERTIFICATE_BYTES,
    MAX_EPOCH,
    Ask,
    Confirm,
    Denial,
    Grant,
    Hello,
    Message,
    Reason,
)

NAMES = st.text("abcdefghijklmnopqrstuvwxyz0123456789-", min_size=1, max_size=16)
U64 = st.integers(0, 2**64 - 1)
EPOCHS = st.integers(0, MAX_EPOCH)
TAGS = st.binary(min_size=16, max_size=16)
_FLAG = st.booleans()
HEALTH = st.builds(Health, st.integers(0, 65535), _FLAG, _FLAG, _FLAG, _FLAG, _FLAG)
CURSORS = st.lists(
    st.builds(CameraCursor, st.integers(0, 65535), st.integers(-(2**63), 2**63 - 1)),
    max_size=MAX_CAMERAS,
    unique_by=lambda cursor: cursor.camera,
).map(tuple)
BEATS: st.SearchStrategy[Beat] = st.builds(
    Beat, U64, st.sampled_from(Role), EPOCHS, HEALTH, CURSORS, U64, U64, _FLAG, _FLAG, U64, EPOCHS, TAGS
)
ASKS = st.builds(Ask, st.sampled_from(["claim", "look", "release"]), NAMES, NAMES, EPOCHS, U64, U64, EPOCHS, TAGS)
GRANTS = st.builds(Grant, U64, EPOCHS, U64)
DENIALS = st.builds(Denial, U64, EPOCHS, NAMES | st.just(""), U64, st.sampled_from(Reason))
CONFIRMS = st.builds(
    Confirm, st.binary(min_size=8, max_size=8).filter(any), st.binary(min_size=8, max_size=8), st.booleans()
)
MESSAGES: st.SearchStrategy[Message] = st.one_of(BEATS, ASKS, GRANTS, DENIALS, CONFIRMS)
HELLOS = st.builds(
    Hello,
    st.binary(min_size=16, max_size=16).filter(any),
    st.binary(min_size=16, max_size=16),
    NAMES,
    st.binary(min_size=1, max_size=MAX_CERTIFICATE_BYTES),
)
