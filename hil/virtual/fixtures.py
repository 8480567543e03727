"""pytest fixtures: ``virtual_node`` and ``virtual_twins``, a fresh node (or pair) from a snapshot for every test.

Installed as a pytest plugin with Touchline. A session boots each seat once, provisions it, waits for its agent and
freezes it; a test gets it back in about two seconds, on a network and with a rack of its own. A test fails, after its
own verdict, when it left warnings of the guest's kernel or failed units behind; a failed test carries the nodes'
journals. Without an image the tests are skipped with the command that builds one, or fail where
``TOUCHLINE_REQUIRE_VIRTUAL=1`` says that there must be one (CI).

A test that provokes a panic or a failing unit says so: ``@pytest.mark.virtual(allow=["panic"], failed_units=["x"])``.
One that leaves the node as it found it says ``@pytest.mark.virtual(tidy=True)``: if it passes, the next test of its
module gets the same node, and a restore is saved.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

if TYPE_CHECKING:
    from hil.virtual.image import Image
    from hil.virtual.lending import Lender
    from hil.virtual.node import VirtualNode
    from hil.virtual.site import Golden, VirtualSite

REQUIRE: Final = "TOUCHLINE_REQUIRE_VIRTUAL"
_FAILED: Final = pytest.StashKey[bool]()
_JOURNAL_LINES: Final = 150
_TIMEOUT_S: Final = 480


def pytest_configure(config: pytest.Config) -> None:
    """The mark of tests that need an emulated node."""
    config.addinivalue_line(
        "markers",
        "virtual(allow=[], failed_units=[], tidy=False): runs in an emulated node; what it may leave behind; whether "
        "the next test may have the same node",
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """An emulated node is slow: its tests may take longer than others before they are cut off."""
    for item in items:
        if item.get_closest_marker("virtual") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(_TIMEOUT_S))


@pytest.fixture(scope="session")
def virtual_image() -> Image:
    """The newest image on this machine, whole."""
    from hil.virtual.image import load_image
    from hil.virtual.machine.network import check_host
    from hil.virtual.machine.qemu import find_qemu
    from touchline.errors import TouchlineError

    try:
        find_qemu()
        check_host()
        return load_image()
    except TouchlineError as error:
        why = f"no virtual node here: {error}"
        if os.environ.get(REQUIRE):
            pytest.fail(why, pytrace=False)
        pytest.skip(why)


@pytest.fixture(scope="session")
def virtual_folder() -> Iterator[Path]:
    """A folder with a short name (Unix sockets lie in it), removed at the end."""
    with tempfile.TemporaryDirectory(prefix="tlv-") as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def virtual_golden(virtual_image: Image, virtual_folder: Path) -> Golden:
    """Seat a, booted, provisioned, its agent ready, frozen."""
    return _freeze(virtual_image, virtual_folder, "a")


@pytest.fixture(scope="session")
def virtual_golden_twins(virtual_image: Image, virtual_folder: Path) -> Golden:
    """Seats a and b on one network, frozen while both work."""
    return _freeze(virtual_image, virtual_folder, "ab")


@pytest.fixture(scope="module")
def virtual_lender(virtual_folder: Path) -> Iterator[Lender]:
    """What lends the sites of a module; a test that makes a snapshot of its own asks it for that."""
    from hil.virtual.lending import Lender

    lender = Lender(virtual_folder)
    yield lender
    lender.close()


@pytest.fixture
def virtual_node(
    virtual_golden: Golden, virtual_lender: Lender, request: pytest.FixtureRequest
) -> Iterator[VirtualNode]:
    """One node with its agent at work, on its own network; ``virtual_node.rack`` is what it publishes to."""
    with lent(virtual_golden, virtual_lender, request) as site:
        yield site.node("a")


@pytest.fixture
def virtual_twins(
    virtual_golden_twins: Golden, virtual_lender: Lender, request: pytest.FixtureRequest
) -> Iterator[VirtualSite]:
    """Two nodes and a rack: ``.node("a")``, ``.node("b")``, ``.rack``, ``.optics`` before both."""
    with lent(virtual_golden_twins, virtual_lender, request) as site:
        yield site


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    """Add the journal of each node to a failed test's report, while the nodes still run; count the test's time."""
    report = yield
    if item.get_closest_marker("virtual"):
        _SPENT[item.nodeid] = _SPENT.get(item.nodeid, 0.0) + call.duration
    item.stash[_FAILED] = item.stash.get(_FAILED, False) or report.failed
    if report.failed and call.when == "call":
        for node in _nodes(item):
            report.sections.append((f"journal of {node.name}", _last_words(node)))
    return report


def _freeze(image: Image, folder: Path, seats: str) -> Golden:
    from hil.virtual.lending import site_in
    from hil.virtual.passenger.seat import crew

    with site_in(folder, image, crew(seats)) as site:
        ready_s = site.boot()
        golden = site.freeze(folder / f"golden-{seats}", ready_s)
    shutil.rmtree(site.folder, ignore_errors=True)
    return golden


_SPENT: Final[dict[str, float]] = {}  # seconds, by test, set-up and teardown included


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what the emulated nodes cost."""
    if _SPENT:
        terminalreporter.write_line(f"virtual node: {len(_SPENT)} tests in {sum(_SPENT.values()) / 60:.1f} min")


@contextmanager
def lent(golden: Golden, lender: Lender, request: pytest.FixtureRequest) -> Iterator[VirtualSite]:
    """A site for one test, and what the test is held to; for fixtures that stand for ``virtual_node`` in a module."""
    marks = list(request.node.iter_markers("virtual"))
    site = lender.lend(golden)
    keep = False
    try:
        yield site
        left = [trouble for node in site.nodes.values() for trouble in _left_behind(node, marks)]
        tidy = next((mark.kwargs["tidy"] for mark in marks if "tidy" in mark.kwargs), False)
        keep = tidy and not left and not request.node.stash.get(_FAILED, False)
    finally:
        if not keep:
            lender.close()
    if left:
        pytest.fail("the test left this behind:\n  " + "\n  ".join(left), pytrace=False)


def _left_behind(node: VirtualNode, marks: list[pytest.Mark]) -> list[str]:
    if node.machine.pid is None:  # the test took its power away
        return []
    allow = [word for mark in marks for word in mark.kwargs.get("allow", ())]
    units = {f"failed unit: {unit}" for mark in marks for unit in mark.kwargs.get("failed_units", ())}
    return [f"{node.name}: {trouble}" for trouble in node.troubles(allow) if trouble not in units]


def _nodes(item: pytest.Item) -> list[VirtualNode]:
    found: dict[str, Any] = getattr(item, "funcargs", {})
    nodes = [found["virtual_node"]] if "virtual_node" in found else []
    return [*nodes, *(found["virtual_twins"].nodes.values() if "virtual_twins" in found else ())]


def _last_words(node: VirtualNode) -> str:
    from touchline.errors import TouchlineError

    try:
        if node.machine.pid is not None:
            return node.journal(_JOURNAL_LINES)
    except TouchlineError as error:  # a dead guest has no journal to give, its console has
        return f"{error}\n" + "\n".join(node.machine.console.last_lines())
    return "the node is off; its console said last:\n" + "\n".join(node.machine.console.last_lines())
