"""The worker: in order, results wake a selector, nothing that a job does ends it, a hung one holds nobody up."""

from __future__ import annotations

import errno
import os
import resource
import select
import threading
from functools import partial

from failover.actions.worker import MAX_WAITING, Done, Worker
from touchline.errors import LinkError

DEADLINE_S = 60.0  # of a thread that is not run


def wait(worker: Worker, number: int) -> list[Done]:
    found: list[Done] = []
    while len(found) < number:
        assert select.select([worker.fileno()], [], [], DEADLINE_S)[0], "no result"
        found += worker.results()
    return found


def refuse(error: BaseException):
    def job():
        raise error

    return job


def test_results_come_in_order_and_wake_the_selector():
    worker = Worker("t")
    assert not select.select([worker.fileno()], [], [], 0)[0]
    for number in range(5):
        assert worker.submit(f"job {number}", partial(int.__mul__, number, 2))
    found = wait(worker, 5)
    assert [(one.name, one.value) for one in found] == [(f"job {n}", 2 * n) for n in range(5)]
    assert all(one.ok and one.ended_ns >= one.begun_ns for one in found)
    assert worker.close(DEADLINE_S)


def test_errors_are_results_with_their_numbers(caplog):
    worker = Worker("t")
    chained = LinkError("refused", hint="do so")
    chained.__cause__ = OSError(errno.ENETDOWN, "down")
    for error in (PermissionError(errno.EPERM, "no"), LinkError("away"), chained, ZeroDivisionError("bug")):
        worker.submit("job", refuse(error))
    worker.submit("after", lambda: "still here")
    found = wait(worker, 5)
    assert [one.code for one in found] == [errno.EPERM, LinkError.exit_code, errno.ENETDOWN, 1, 0]
    assert found[2].text == "refused — do so"
    assert found[3].text == "ZeroDivisionError: bug" and "Traceback" in caplog.text
    assert found[4].value == "still here"
    assert worker.close(DEADLINE_S)


def test_a_hung_job_blocks_neither_submit_nor_close():
    worker, never = Worker("t"), threading.Event()
    worker.submit("hangs", never.wait)
    taken = sum(worker.submit("waits", lambda: None) for _ in range(3 * MAX_WAITING))
    assert MAX_WAITING - 1 <= taken <= MAX_WAITING
    assert worker.close(0.05) is False
    never.set()  # and its late result goes nowhere


def test_a_priority_is_taken_where_it_is_granted():
    ordinary, urgent = Worker("t"), Worker("t", 5)
    ordinary.submit("asked", lambda: os.sched_getscheduler(0))
    urgent.submit("asked", lambda: os.sched_getscheduler(0))
    assert wait(ordinary, 1)[0].value == os.SCHED_OTHER
    granted = os.geteuid() == 0 or resource.getrlimit(resource.RLIMIT_RTPRIO)[0] >= 5
    assert wait(urgent, 1)[0].value == (os.SCHED_FIFO if granted else os.SCHED_OTHER)
    assert ordinary.close(DEADLINE_S) and urgent.close(DEADLINE_S)
