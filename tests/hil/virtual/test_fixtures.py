"""What the fixtures hold a test to: no kernel warnings, no failed units, and the journal when it fails."""

from __future__ import annotations

import pytest

from hil.virtual import fixtures
from hil.virtual.site import Golden

pytestmark = [pytest.mark.system, pytest.mark.virtual]

INNER = """
import pytest

pytestmark = pytest.mark.virtual(allow=["a/known.c"])

def mark(node):
    return node.run("test -e /run/mark", check=False).exit_code == 0

@pytest.mark.virtual(tidy=True)
def test_clean(virtual_node):
    assert virtual_node.run("hostname").out == "orin-a\\n"
    virtual_node.run("touch /run/mark; echo 'WARNING: CPU: 0 PID: 1 at a/known.c:1' > /dev/kmsg")

@pytest.mark.virtual(tidy=True)
def test_has_the_tidy_ones_node_and_leaves_a_failed_unit(virtual_node):
    assert mark(virtual_node)
    virtual_node.run("systemd-run --unit=broken --wait false", check=False)

@pytest.mark.virtual(tidy=True, failed_units=["broken.service"])
def test_has_another_one_and_says_so(virtual_node):
    assert not mark(virtual_node)
    virtual_node.run("touch /run/mark; systemd-run --unit=broken --wait false", check=False)
    virtual_node.machine.kill()

def test_has_a_living_one_and_leaves_a_kernel_warning(virtual_node):
    assert not mark(virtual_node)
    virtual_node.run("touch /run/mark; echo 'WARNING: CPU: 0 PID: 1 at a/test.c:1' > /dev/kmsg")

@pytest.mark.virtual(tidy=True)
def test_has_another_one_and_fails(virtual_node):
    assert not mark(virtual_node)
    virtual_node.run("touch /run/mark; logger -t marker what-happened-before; journalctl --sync")
    assert virtual_node.run("true").exit_code == 1
"""


CONFTEST = """
import sys
import pytest

@pytest.fixture(scope="session")
def virtual_golden():  # the outer session's: no second boot
    return sys.modules["{module}"].GIVEN[0]
"""
GIVEN: list[Golden] = []


def test_each_test_is_held_to_what_it_leaves_behind(pytester: pytest.Pytester, virtual_golden: Golden):
    GIVEN[:] = [virtual_golden]
    pytester.makeconftest(CONFTEST.format(module=__name__))
    pytester.makepyfile(INNER)
    result = pytester.runpytest_inprocess("-p", "no:cov", "-rA")
    result.assert_outcomes(passed=4, failed=1, errors=2)  # what is left behind is an error beside the test's own pass
    said = result.stdout.str()
    assert "orin-a: failed unit: broken.service" in said
    assert "orin-a: kernel warning: WARNING: CPU: 0" in said
    assert "journal of orin-a" in said
    assert "what-happened-before" in said


def test_without_an_image_tests_are_skipped_or_must_not_be(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(pytester.path / "nothing"))
    pytester.makepyfile("def test_it(virtual_image): pass")
    monkeypatch.delenv(fixtures.REQUIRE, raising=False)
    skipped = pytester.runpytest_inprocess("-p", "no:cov", "-rs")
    skipped.assert_outcomes(skipped=1)
    assert "touchline hil virtual build" in skipped.stdout.str()
    monkeypatch.setenv(fixtures.REQUIRE, "1")
    pytester.runpytest_inprocess("-p", "no:cov").assert_outcomes(errors=1)
