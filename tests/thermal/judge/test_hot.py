"""The one temperature to act on: whose it is when zones fail."""

import dataclasses

from tests.thermal.judge.looks import EAGAIN, EIO, RULES, Judging
from thermal.judge import Hot


def lost(judging: Judging, tj: object = EIO, seconds: int = 4, **zones: object) -> Hot:
    hot = Hot(None, "blind")
    for _ in range(seconds):
        hot = judging.see(tj, **zones).hot  # type: ignore[arg-type]
    return hot


def test_tj_is_it():
    assert Judging().see(60.0, cpu=61.0).hot == Hot(60.0, "tj")


def test_a_zone_far_above_tj_is_heard():
    assert Judging().see(60.0, cpu=80.0).hot == Hot(77.0, "tj")


def test_one_failed_look_holds_the_last_value():
    judging = Judging()
    judging.see(60.0)
    assert judging.see(EIO).hot == Hot(60.0, "held")
    assert judging.see(EIO, cpu=64.0).hot == Hot(64.0, "held")


def test_without_tj_the_hottest_other_zone_and_a_margin():
    judging = Judging()
    judging.see(60.0)
    assert lost(judging, cpu=58.0, gpu=57.0) == Hot(63.0, "stand_in")


def test_without_tj_and_a_stand_in_nothing():
    judging = Judging()
    judging.see(60.0)
    assert lost(judging, gpu=EIO) == Hot(None, "blind")


def test_a_stand_in_that_is_switched_off_does_not_stand_in():
    judging = Judging()
    judging.see(60.0, gpu=EAGAIN)
    assert lost(judging, gpu=EAGAIN) == Hot(None, "blind")


def test_without_stand_ins_configured_there_are_none():
    assert Judging(dataclasses.replace(RULES, stand_ins=())).see(EIO).hot == Hot(None, "blind")


def test_the_first_look_without_tj_is_not_blind_where_others_stand_in():
    assert Judging().see(None).hot == Hot(55.0, "stand_in")
