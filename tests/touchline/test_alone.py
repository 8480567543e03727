"""One process at a time at a folder."""

from __future__ import annotations

import fcntl
import os

import pytest

from touchline.alone import alone
from touchline.errors import ResourceError


def test_a_second_one_is_told_who_may_be_at_work_and_a_later_one_goes_on(tmp_path):
    folder = tmp_path / "deep" / "folder"
    with (
        alone(folder, "another is at work"),
        pytest.raises(ResourceError, match="another is at work"),
        alone(folder, "another is at work"),
    ):
        raise AssertionError("two at once")
    with alone(folder, "another is at work"):
        pass


def test_an_error_of_the_work_itself_is_not_taken_for_another_one_at_work(tmp_path):
    with pytest.raises(BlockingIOError), alone(tmp_path, "another is at work"):
        raise BlockingIOError("of a socket")


def test_a_link_in_place_of_the_lock_is_not_followed(tmp_path):
    theirs = tmp_path / "theirs"
    (tmp_path / ".lock").symlink_to(theirs)
    with pytest.raises(OSError), alone(tmp_path, "another is at work"):
        raise AssertionError("it was followed")
    assert not theirs.exists()


def test_the_lock_is_the_kernels_and_ends_with_its_holder(tmp_path):
    pid = os.fork()
    if pid == 0:
        with (tmp_path / ".lock").open("w") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            os._exit(0)
    os.waitpid(pid, 0)
    with alone(tmp_path, "another is at work"):
        pass
