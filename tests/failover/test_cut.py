"""The plan of a cut as it comes back from the disk: whole, or none, whoever wrote it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from failover.actions.netlink import RTM_DELADDR, RTM_NEWADDR, RTM_NEWLINK, RTM_NEWROUTE
from failover.actions.routes import Kept
from failover.cut import PLAN_FILE, Plan, restore_leftover

KEPT = st.builds(Kept, st.sampled_from([RTM_NEWADDR, RTM_NEWROUTE]), st.binary(max_size=40))
LINKS = st.tuples(st.integers(1, 2**31 - 1), st.text(max_size=15))
PLAN = Plan(((2, "eth0"),), (), 7, "boot")


@given(st.lists(LINKS, max_size=3), st.lists(KEPT, max_size=3), st.integers(), st.text(max_size=9))
def test_what_is_written_is_read(links, kept, until_ns, boot):
    plan = Plan(tuple(links), tuple(kept), until_ns, boot)
    assert Plan.load(plan.dump()) == plan


@given(
    st.text(max_size=60) | st.dictionaries(st.sampled_from(["links", "kept", "boot"]), st.integers()).map(json.dumps)
)
def test_anything_else_is_an_error_in_words(text):
    with pytest.raises(ValueError):
        Plan.load(text)


@pytest.mark.parametrize("kind", [RTM_DELADDR, RTM_NEWLINK, 0, -1])
def test_a_plan_of_other_changes_is_none(kind):
    """The folder is the service's user's, whose other processes have no right to change the network."""
    forged = Plan(PLAN.links, (Kept(kind, b""),), 7, "boot").dump()
    with pytest.raises(ValueError, match="neither an address nor a route"):
        Plan.load(forged)


@pytest.mark.parametrize("text", ["[" * 100_000, "[]", "{}", Plan(((0, "eth0"),), (), 7, "b").dump()])
def test_a_damaged_plan_is_removed_and_named(tmp_path, text):
    path = tmp_path / PLAN_FILE
    path.write_text(text)
    restored = restore_leftover(tmp_path)
    assert restored is not None and "was damaged" in restored.trouble[0] and not path.exists()
