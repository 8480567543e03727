"""The plan is pure: facts in, steps out."""

from __future__ import annotations

from dataclasses import replace

import pytest

from flash.bundle.node.plan import Facts, Step, plan_install, plan_rollback
from touchline.errors import ResourceError

NOTHING = Facts(
    release="2-b",
    complete=False,
    current=None,
    previous=None,
    has_command=False,
    changed=("/u/a.service",),
    stale=(),
    has_user=False,
    not_enabled=("touchline.target",),
    settled=False,
    may_start=True,
    idle=True,
    old=(),
    commands={name: ((name,),) for name in ("user", "folders", "enable", "start")},
)
INSTALLED = replace(
    NOTHING,
    complete=True,
    current="2-b",
    has_command=True,
    changed=(),
    has_user=True,
    not_enabled=(),
    settled=True,
    idle=False,
)


def needed(steps: list[Step]) -> list[str]:
    return [step.name for step in steps if step.needed]


def test_a_fresh_node_needs_everything_but_a_way_back():
    assert needed(plan_install(NOTHING)) == [
        "release",
        "current",
        "command",
        "files",
        "user",
        "folders",
        "enable",
        "start",
    ]


def test_an_installed_node_needs_nothing():
    assert needed(plan_install(INSTALLED)) == []


def test_an_update_keeps_the_old_release_before_it_switches():
    facts = replace(INSTALLED, release="3-c", complete=False, settled=False, current="2-b", old=("1-a",))
    steps = plan_install(facts)
    assert needed(steps) == ["release", "previous", "current", "folders", "start", "tidy"]
    assert "2-b" in next(step.text for step in steps if step.name == "previous")


def test_a_run_that_was_cut_off_after_the_switch_goes_on():
    assert needed(plan_install(replace(INSTALLED, settled=False))) == ["folders", "start"]


def test_a_stopped_node_is_started_and_a_tree_of_another_is_not():
    assert needed(plan_install(replace(INSTALLED, idle=True))) == ["start"]
    assert needed(plan_install(replace(INSTALLED, idle=True, may_start=False))) == []


def test_going_back_switches_first():
    facts = replace(INSTALLED, release="1-a", previous="1-a", settled=False)
    assert needed(plan_rollback(facts)) == ["current", "previous", "folders", "start"]


@pytest.mark.parametrize("previous", [None, "2-b"])
def test_there_is_no_way_back_without_an_earlier_release(previous):
    with pytest.raises(ResourceError, match="no earlier release"):
        plan_rollback(replace(INSTALLED, previous=previous))


def test_there_is_no_way_back_to_half_a_release():
    with pytest.raises(ResourceError, match="not whole"):
        plan_rollback(replace(INSTALLED, previous="1-a", complete=False))
