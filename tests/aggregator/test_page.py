"""The page as a person sees it: headless Chromium, screenshots, dots that move, and no old picture shown as live."""

import asyncio
import json
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from aggregator.rack import Rack
from aggregator.store import Group
from aggregator.web.server import PageServer
from tests.aggregator.match import Match, Node
from tests.aggregator.rig import rack_config, wait_for
from touchline.timeline import SystemClock, monotonic_ns, sleep_until

pytestmark = pytest.mark.system
DEADLINE_S = 40

CAMERA_COLOURS = ((0x56, 0xB4, 0xE9), (0xE6, 0x9F, 0x00))
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-quic",
]
LOCKED = {
    "state": "locked", "bound_ns": 60, "source": "ptp", "grandmaster": "001122.fffe.334455", "timescale": "PTP",
    "offset_ns": -12, "path_delay_ns": 812, "residual_ns": 9.4, "limit_ns": 1000, "port_state": "SLAVE", "epoch": 1,
}  # fmt: skip


def heat(total_w: float | None, **said: Any) -> dict[str, Any]:
    """What a node's health says of temperature and power."""
    known = {"good": True, "why": "", "hot": False, "temp_c": 61.0, "duty_pct": 58.0, "rpm": 1700, "budget_w": 55.0}
    power = {"total": total_w, "rails": {"VDD_GPU_SOC": 30.0}}
    return {**known, "power_w": power, "cap_level": 0, "cap_levels": 6, "faults": [], **said}


class LivePage:
    """A rack fed by two synthetic cameras at 25 Hz, and its page, in threads of this process."""

    def __init__(self, folder: Path) -> None:
        cabinet = {"name": "north", "nodes": ["orin-a", "orin-b"], "budget_w": 120.0}
        config = rack_config(folder, web={"title": "Cup final", "stale_s": 0.8}, cabinet=[cabinet])
        self.rack, self.clock, self.match = Rack(config), SystemClock(), Match(22)
        self.url = ""
        self.clocks: dict[str, dict[str, Any]] = {"orin-a": LOCKED, "orin-b": LOCKED}
        self.heats: dict[str, dict[str, Any]] = {}
        self.playing = threading.Event()
        self.playing.set()
        self._stop = threading.Event()
        self.serving = threading.Event()
        self.serving.set()
        self._web = config.web
        self._threads = [
            threading.Thread(target=self._feed),
            threading.Thread(target=lambda: asyncio.run(self._serve())),
        ]

    def _server(self) -> PageServer:
        return PageServer(
            self._web,
            lambda: self.rack.live(monotonic_ns(), self.clock.now().ptp_ns),
            lambda: self.rack.status(monotonic_ns(), self.clock.now().ptp_ns),
            lambda: self.rack.stats(monotonic_ns()),
            dict,
        )

    def _feed(self) -> None:
        nodes, begin_ns, frame = (Node("orin-a"), Node("orin-b")), monotonic_ns(), 0
        while not self._stop.is_set():
            exposure_ns = self.clock.now().ptp_ns - 40_000_000
            for camera, node in enumerate(nodes) if self.playing.is_set() else ():
                data = node.batch(self.match.seen(camera, frame, frame / 25, exposure_ns))
                self.rack.message(node.topic, data, monotonic_ns(), self.clock.now().ptp_ns, Group())
            for name, clock in self.clocks.items() if frame % 12 == 0 else ():
                ptp_ns = self.clock.now().ptp_ns
                document = json.dumps({"ptp_ns": ptp_ns, **clock}).encode()
                self.rack.message(f"tl/v1/{name}/clock", document, monotonic_ns(), ptp_ns, Group())
            for name, said in self.heats.items() if frame % 12 == 0 else ():
                ptp_ns = self.clock.now().ptp_ns
                document = json.dumps({"ptp_ns": ptp_ns, "state": "running", "thermal": said}).encode()
                self.rack.message(f"tl/v1/{name}/health", document, monotonic_ns(), ptp_ns, Group())
            self.rack.tick(monotonic_ns(), self.clock.now().ptp_ns, Group())
            frame += 1
            sleep_until(begin_ns + frame * 40_000_000)

    async def _serve(self) -> None:
        """Serve while ``serving`` is set; after a pause on the same port."""
        while not self._stop.is_set():
            server = self._server()
            self.url = await server.start()
            self._web = self._web.model_copy(update={"port": int(self.url.rstrip("/").rpartition(":")[2])})
            while self.serving.is_set() and not self._stop.is_set():
                await asyncio.sleep(0.05)
            await server.stop()
            while not self.serving.is_set() and not self._stop.is_set():
                await asyncio.sleep(0.05)

    def __enter__(self) -> "LivePage":
        for thread in self._threads:
            thread.start()
        wait_for(lambda: self.url, "address")
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(60)


@pytest.fixture(scope="module")
def browser():
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("Chromium is not installed (apt install chromium)")
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as control:
        started = control.chromium.launch(executable_path=chromium, args=ARGUMENTS, timeout=120_000)
        yield started
        started.close()


@pytest.fixture
def live(tmp_path):
    with LivePage(tmp_path) as page:
        yield page


def open_page(browser: Any, url: str, width: int, height: int) -> Any:
    page = browser.new_page(viewport={"width": width, "height": height})
    page.faults = []
    page.on("pageerror", lambda error: page.faults.append(str(error)))
    page.on("console", lambda line: page.faults.append(line.text) if line.type == "error" else None)
    page.goto(url)
    page.wait_for_selector("body[data-state=live]", timeout=DEADLINE_S * 1000)
    until(page, "+document.querySelector('#pitch').dataset.dots >= 20")
    return page


def until(page: Any, expression: str) -> None:
    """Wait for an expression; Playwright's own way is forbidden by the page's content security policy."""
    so(page, lambda: page.evaluate(expression), expression)


def so(page: Any, condition: Callable[[], Any], what: str) -> Any:
    """The first true value of a condition: the page may be a moment behind, or for that moment have no live data."""
    deadline_ns = monotonic_ns() + DEADLINE_S * 1_000_000_000
    while not (value := condition()):
        assert monotonic_ns() < deadline_ns, f"{what}: not within {DEADLINE_S} s"
        page.wait_for_timeout(50)
    return value


def until_words(page: Any, where: Any, *words: str) -> None:
    """Wait until some words, as wholes, stand in an element at once."""
    so(page, lambda: set(words) <= set(where.inner_text().split()), f"{words}")


def until_all(page: Any, where: Any, *words: str) -> None:
    """Wait until an element's text has all of some words at once."""
    so(page, lambda: all(word in where.inner_text() for word in words), f"{words}")


def picture(page: Any) -> NDArray[np.int16]:
    """The pitch as it is on the screen, (h, w, 3)."""
    data = np.frombuffer(page.locator("#pitch").screenshot(), np.uint8)
    image = cv2.imdecode(data, cv2.IMREAD_COLOR)
    assert image is not None
    return np.asarray(image[..., ::-1], np.int16)


def painted(image: NDArray[np.int16], colour: tuple[int, int, int]) -> NDArray[np.uint8]:
    """Mask of the pixels that have a camera's colour, as solid dots have and trails mostly have not."""
    return np.asarray(np.abs(image - np.array(colour)).max(axis=2) <= 6, np.uint8)


def spots(image: NDArray[np.int16]) -> int:
    """Number of solid discs in the cameras' colours."""
    count = 0
    for colour in CAMERA_COLOURS:
        total, _, figures, _ = cv2.connectedComponentsWithStats(painted(image, colour))
        count += sum(int(figures[i, cv2.CC_STAT_AREA]) >= 25 for i in range(1, total))
    return count


def live_picture(page: Any) -> NDArray[np.int16]:
    """The pitch with its live dots."""
    found: list[NDArray[np.int16]] = []

    def shown() -> bool:
        found.append(picture(page))
        return spots(found[-1]) >= 15

    so(page, shown, "live dots")
    return found[-1]


def test_dots_are_there_and_they_move(browser, live):
    page = open_page(browser, live.url, 1440, 900)
    first = live_picture(page)
    page.wait_for_timeout(1500)
    second = live_picture(page)
    for colour in CAMERA_COLOURS:
        before, after = painted(first, colour), painted(second, colour)
        assert before.sum() > 500 and after.sum() > 500
        assert (before & after).sum() < 0.7 * before.sum(), "the dots stand still"
    lines = (first.min(axis=2) > 140).sum()
    assert lines > 2000, "the pitch has no markings"
    assert page.title() == page.inner_text("#title") == "Cup final"
    until_all(page, page.locator("#nodes"), "orin-a")
    until_all(page, page.locator("#legend"), "camera 0")
    until(page, "document.querySelectorAll('#table tr').length >= 20")
    assert page.faults == []
    page.close()


def test_it_says_how_well_the_nodes_are_aligned_and_who_is_not(browser, live):
    page = open_page(browser, live.url, 1440, 900)
    until(page, "document.querySelector('#alignment').innerText === 'alignment ± 120 ns'")
    until(page, "document.querySelector('#clocks').innerText === ''")  # the picture's word comes by another way
    until(page, "!document.querySelector('#legend').innerText.includes('not aligned')")
    until_words(page, page.locator(".node").first, "locked", "60", "-12", "…334455", "yes")
    assert page.get_attribute("dd:text('…334455') >> nth=0", "title") == "grandmaster 001122.fffe.334455 PTP"
    live.clocks = {"orin-a": LOCKED, "orin-b": {"state": "unlocked", "bound_ns": 10**9, "epoch": 0}}
    until(page, "document.querySelector('#clocks').innerText.includes(\"orin-b's clock is the system clock\")")
    until(page, "document.body.dataset.state === 'live' && document.querySelector('#pill-text').innerText === 'LIVE'")
    until_all(page, page.locator("#alignment"), "1 of 2 nodes aligned")
    until_all(page, page.locator(".node").nth(1), "Not aligned: orin-b's clock is the system clock")
    assert page.locator("dd:text-is('no')").get_attribute("title") == "orin-b's clock is the system clock"
    until(page, "document.querySelector('#legend').innerText.includes('not aligned')")
    live.clocks = {"orin-a": LOCKED, "orin-b": LOCKED}
    until(page, "document.querySelector('#clocks').innerText === ''")
    assert page.faults == []
    page.close()


def test_heat_and_cabinets_say_what_is_known_and_what_is_not(browser, live):
    page = open_page(browser, live.url, 1440, 900)
    until(page, "document.querySelector('#cabinets').innerText.includes('120 of 120 W')")
    until_all(page, page.locator("#cabinets"), "Unknown, counted with 60 W each: orin-a, orin-b")
    until_all(page, page.locator("#cabinets-state"), "within budget")
    live.heats = {"orin-a": heat(41.6), "orin-b": heat(39.0)}
    until(page, "document.querySelector('#cabinets').innerText.includes('81 of 120 W')")
    assert "Unknown" not in page.inner_text("#cabinets")
    until_words(page, page.locator(".node").first, "61", "42", "58", "full")
    assert "VDD_GPU_SOC 30.0 W" in page.get_attribute("dd:text('42 W') >> nth=0", "title")
    alarm = {"code": "too_hot", "what": "tj", "severity": "alarm", "text": "75.1 C, limit 74"}
    dead = {"good": False, "why": "the status is 9.0 s old", "hot": True}
    live.heats = {
        "orin-a": heat(95.0, hot=True, temp_c=75.1, cap_level=2, faults=[alarm]),
        "orin-b": heat(None, **dead),
    }
    until(page, "document.querySelector('#cabinets-state').innerText === '1 over budget'")
    until_all(page, page.locator("#cabinets h3"), "over budget", "155 of 120 W")
    until_all(page, page.locator("#cabinets"), "counted with 60 W each: orin-b")
    until_all(page, page.locator(".node").nth(0), "tj: 75.1 C, limit 74", "rung 2 of 6")
    until_all(page, page.locator(".node").nth(1), "Taken for hot: the status is 9.0 s old", "unknown")
    assert "0 W" not in page.locator(".node").nth(1).inner_text()
    until_all(page, page.locator("#events"), "cabinet north is over its power budget")
    width = page.evaluate("document.querySelector('.bar .read').getBoundingClientRect().width")
    hatched = page.evaluate("document.querySelector('.bar .unknown').getBoundingClientRect().width")
    assert width / hatched == pytest.approx(95 / 60, rel=0.05), "the bar is not drawn"
    assert page.faults == []
    page.close()


def test_old_data_is_never_shown_as_live(browser, live):
    page = open_page(browser, live.url, 1280, 720)
    live.playing.clear()
    page.wait_for_selector("body[data-state=stale]", timeout=DEADLINE_S * 1000)
    until(page, "/No data for ([3-9]|\\d\\d)/.test(document.querySelector('#notice').innerText)")
    assert "stale" in page.inner_text("#pill").lower()
    still = picture(page)
    assert spots(still) == 0, "a stale dot has a live dot's colour"
    page.wait_for_timeout(400)
    live.playing.set()
    page.wait_for_selector("body[data-state=live]", timeout=DEADLINE_S * 1000)
    live_picture(page)
    so(page, lambda: not page.is_visible("#notice"), "no notice")
    page.close()


def test_a_rack_that_is_gone_is_said_and_found_again(browser, live):
    page = open_page(browser, live.url, 1280, 720)
    live.serving.clear()
    page.wait_for_selector("body[data-state=offline]", timeout=DEADLINE_S * 1000)
    until(page, "/Rack not heard for/.test(document.querySelector('#notice').innerText)")
    assert spots(picture(page)) == 0
    live.serving.set()
    page.wait_for_selector("body[data-state=live]", timeout=DEADLINE_S * 1000)
    live_picture(page)
    page.close()


@pytest.mark.parametrize(("width", "height"), [(390, 844), (820, 1180), (1920, 1080)])
def test_it_fits_phones_tablets_and_walls(browser, live, width, height):
    page = open_page(browser, live.url, width, height)
    overflow = page.evaluate("document.documentElement.scrollWidth - innerWidth")
    box = page.locator("#pitch").bounding_box()
    assert overflow <= 0
    assert box["x"] >= 0 and box["x"] + box["width"] <= width and box["height"] <= height
    assert box["width"] / box["height"] == pytest.approx((105 + 10) / (68 + 10), rel=0.01)
    assert page.faults == []
    page.close()
