"""``/metrics`` for Prometheus, made from the same node view as the health document."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any, Final

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from agent.parent.health import NodeView
from agent.processes.child import TRACKER
from failover.core.types import Role as PairRole
from touchline.errors import ResourceError
from touchline.timeline import ClockState

_WAKE_S: Final = 0.02
_RECORDS = {
    "records": "handed to the publisher",
    "queued": "spooled",
    "sent": "sent to the broker, repeats included",
    "acknowledged": "acknowledged by the broker",
}


_CLOCK = {
    "limit_ns": "bound beyond which the clock is unlocked, ns",
    "offset_ns": "ptp4l's last offset from its master, ns",
    "path_delay_ns": "ptp4l's delay of the path to its master, ns",
    "residual_ns": "rms error of the prediction of the last pairs of clocks, ns",
}


_FAILOVER = {
    "epoch": "fencing epoch of the node's gate",
    "open": "1 while records may leave",
    "service": "1 while the failover service is there",
    "cursor_age_ms": "newest frame to the newest that is known to be at the rack, worst camera, ms",
}
_FAILOVER_TOTALS = {
    "held_batches": "batches spooled as a standby",
    "covered_batches": "of them, those that the twin delivered",
    "covered": "records in these",
    "doubts": "times that the twin's cursor leapt, and what was held went to the rack all the same",
}


_THERMAL = {
    "temp_c": "junction temperature, C",
    "duty_pct": "duty ordered of the fan, %",
    "rpm": "of the fan",
    "cap_level": "rung of the clock caps, 0: none",
}


class NodeCollector:
    """Turns the present node view into metric families whenever it is asked."""

    def __init__(self, view: Callable[[], NodeView | None]) -> None:
        self._view = view

    def collect(self) -> Iterator[Metric]:
        """Yield every family; none before the first view."""
        view = self._view()
        if view is None:
            return
        yield from _stage_families(view)
        yield from _counter_families(view)
        yield from _gauge_families(view)
        yield from _clock_families(view)
        yield from _failover_families(view.failover())
        yield from _thermal_families(view.thermal())
        yield from _trace_families(view.trace())


def _stage_families(view: NodeView) -> Iterator[Metric]:
    family = GaugeMetricFamily(
        "touchline_stage_ms", "latency of a stage over its last frames, ms", labels=["process", "stage", "quantile"]
    )
    count = CounterMetricFamily("touchline_stage", "frames that passed a stage", labels=["process", "stage"])
    for child in view.children:
        for stage, one in child.stages().items():
            count.add_metric([child.name, stage], one["count"])
            for quantile in ("p50", "p99", "max"):
                family.add_metric([child.name, stage, quantile], one[quantile])
    yield family
    yield count


def _counter_families(view: NodeView) -> Iterator[Metric]:
    frames = CounterMetricFamily("touchline_frames", "frames by what became of them", labels=["what"])
    frames.add_metric(["captured"], view.captured())
    frames.add_metric(["processed"], view.total("processed"))
    dropped = CounterMetricFamily("touchline_dropped", "losses by reason", labels=["reason"])
    for reason, count in view.drops().items():
        dropped.add_metric([reason], count)
    records = CounterMetricFamily("touchline_records", "records by what became of them", labels=["what"])
    for name in _RECORDS:
        records.add_metric([name], view.total(name))
    people = CounterMetricFamily("touchline_tracker", "what the tracker did", labels=["process", "what"])
    restarts = CounterMetricFamily("touchline_restarts", "restarts of a child", labels=["process"])
    for child in view.children:
        restarts.add_metric([child.name], child.budget.total)
        for name, value in child.counters().items():
            if name.startswith(TRACKER):
                people.add_metric([child.name, name.removeprefix(TRACKER)], value)
    yield from (frames, records, dropped, people, restarts)


def _gauge_families(view: NodeView) -> Iterator[Metric]:
    spool = GaugeMetricFamily("touchline_spool", "what waits in the spool", labels=["unit"])
    for unit, value in view.said("spool").items():
        if isinstance(value, int | float):
            spool.add_metric([unit], value)
    yield spool
    rate = GaugeMetricFamily("touchline_camera_fps", "frames per second landed", labels=["camera"])
    lag = GaugeMetricFamily("touchline_ring_lag_frames", "frames waiting for the reader", labels=["camera", "reader"])
    for camera, fps in view.rates.items():
        rate.add_metric([str(camera)], fps)
    for camera, ledger in view.ledgers.items():
        for place, reader in enumerate(ledger.readers):
            if reader.lives:
                lag.add_metric([str(camera), str(place)], reader.lag)
    yield from (rate, lag)
    yield GaugeMetricFamily("touchline_up", "1 while the agent runs", value=1 if view.state == "running" else 0)


def _clock_families(view: NodeView) -> Iterator[Metric]:
    """What is not known has no line: a reading that there is none of is not 0."""
    clock = view.clock
    yield GaugeMetricFamily("touchline_clock_bound_ns", "bound of the clock's error, ns", value=clock.bound_ns)
    yield GaugeMetricFamily("touchline_clock_epoch", "grows with each step and each new master", value=clock.epoch)
    state = GaugeMetricFamily("touchline_clock_state", "1 for the state that the clock is in", labels=["state"])
    for one in ClockState:
        state.add_metric([one.value], 1 if one is clock.state else 0)
    yield state
    for name, words in _CLOCK.items():
        value = view.clock_says.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool):
            yield GaugeMetricFamily(f"touchline_clock_{name}", words, value=value)


def _failover_families(failover: Mapping[str, Any]) -> Iterator[Metric]:
    """The node's part in its pair; nothing without failover."""
    if not failover:
        return
    role = GaugeMetricFamily("touchline_failover_role", "1 for the role that the node has", labels=["role"])
    for one in PairRole:
        role.add_metric([one.value], 1 if failover["role"] == one.value else 0)
    yield role
    for name, words in _FAILOVER.items():
        if failover.get(name) is not None:
            yield GaugeMetricFamily(f"touchline_failover_{name}", words, value=float(failover[name]))
    for name, words in _FAILOVER_TOTALS.items():
        yield CounterMetricFamily(f"touchline_failover_{name}", words, value=failover[name])


def _thermal_families(thermal: Mapping[str, Any]) -> Iterator[Metric]:
    """Temperature and power; nothing without ``[thermal]``, and no line for what is not known."""
    if not thermal:
        return
    yield GaugeMetricFamily("touchline_hot", "1: hot, or its fan service is silent", value=int(thermal["hot"]))
    for name, words in _THERMAL.items():
        if thermal.get(name) is not None:
            yield GaugeMetricFamily(f"touchline_{name}", words, value=thermal[name])
    power = GaugeMetricFamily("touchline_power_w", "by rail; their total reads below the wall, W", labels=["rail"])
    said = thermal.get("power_w", {"total": None, "rails": {}})
    for rail, watts in {**said["rails"], "total": said["total"]}.items():
        if watts is not None:
            power.add_metric([rail], watts)
    yield power
    events = CounterMetricFamily("touchline_over_current", "over-current events by counter", labels=["counter"])
    for counter, count in thermal.get("oc_counted", {}).items():
        events.add_metric([counter], count)
    yield events


def _trace_families(trace: Mapping[str, int]) -> Iterator[Metric]:
    """The trace ring; nothing where nothing is traced."""
    if not trace:
        return
    frames = CounterMetricFamily("touchline_trace", "frames by what became of their trace", labels=["what"])
    frames.add_metric(["written"], trace["frames"])
    frames.add_metric(["dropped"], trace["dropped"])
    yield frames
    yield CounterMetricFamily("touchline_trace_bytes", "written to the trace ring", value=trace["bytes"])


class MetricsServer:
    """``/metrics`` from a thread of its own. Raises ResourceError when the port cannot be had."""

    def __init__(self, bind: str, port: int, view: Callable[[], NodeView | None]) -> None:
        self._bind = bind
        registry = CollectorRegistry(auto_describe=False)
        registry.register(NodeCollector(view))
        try:
            self._server, _thread = start_http_server(port, bind, registry)
        except (OSError, socket.gaierror) as error:
            raise ResourceError(
                f"metrics.port {port} on {bind} cannot be used: {error.strerror}",
                hint="free it, or set metrics.port to another one (0 takes any)",
            ) from error

    @property
    def port(self) -> int:
        """Where it listens."""
        return self._server.server_port

    def close(self) -> None:
        """Stop at once: by itself the server looks only each half second whether it shall, a node's stop would wait."""
        stopping = threading.Thread(target=self._server.shutdown, name="metrics-stop")
        stopping.start()
        while stopping.is_alive():
            with suppress(OSError):  # wakes it; one that has stopped by now is what we want
                socket.create_connection((self._bind, self.port), _WAKE_S).close()
            stopping.join(_WAKE_S)
        self._server.server_close()
