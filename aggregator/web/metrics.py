"""/metrics for Prometheus, from the same figures as the page; its own registry."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

_RECORDS = {
    "received": "records in checked batches, re-deliveries included",
    "unique": "records stored",
    "redelivered": "records recognised by their number and dropped",
    "twin_copies": "records of frames that another node had already delivered",
    "same_key": "records whose key was already in the store",
    "refused": "records with a position or velocity that is no number",
}


class RackCollector(Collector):
    """Turns the status document into metrics at each scrape."""

    def __init__(self, status: Callable[[], dict[str, Any]]) -> None:
        self._status = status

    def collect(self) -> Iterable[Metric]:
        """All metrics."""
        status = self._status()
        yield from _totals(status["stats"])
        yield _gauge("touchline_rack_broker_connected", "1 while connected", int(status["broker"]["connected"]))
        yield _gauge("touchline_rack_store_failing", "1 while the disk refuses", int(bool(status["store_fault"])))
        for name in ("latency_ms", "commit_ms"):
            yield _summary(f"touchline_rack_{name}", name, [({}, status["stats"][name])])
        yield _summary(
            "touchline_rack_stream_latency_ms",
            "exposure to arrival, per node and camera",
            [({"node": s["node"], "camera": str(s["camera"])}, s["latency_ms"]) for s in status["streams"]],
        )
        yield from _streams(status["streams"])
        yield from _nodes(status["nodes"])
        yield from _alignment(status)
        yield from _heat([node for node in status["nodes"] if node["thermal"] is not None])
        yield from _cabinets(status["cabinets"])


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=value)


def _totals(stats: dict[str, Any]) -> Iterable[Metric]:
    for name, text in _RECORDS.items():
        yield CounterMetricFamily(f"touchline_rack_records_{name}", text, value=stats["records"][name])
    for name, text in (
        ("open_gaps", "record numbers missing, may still come"),
        ("lost", "record numbers missing for too long"),
    ):
        yield _gauge(f"touchline_rack_records_{name}", text, stats["records"][name])
    text = "starts of nodes whose numbers were forgotten because too many followed"
    yield CounterMetricFamily("touchline_rack_starts_retired", text, value=stats["starts"]["retired"])
    refused = CounterMetricFamily("touchline_rack_messages_refused", "refused messages", labels=["reason"])
    for reason, count in stats["messages"]["refused"].items():
        refused.add_metric([reason], count)
    yield refused
    yield CounterMetricFamily("touchline_rack_messages", "messages received", value=stats["messages"]["received"])


def _summary(name: str, text: str, rows: list[tuple[dict[str, str], dict[str, float] | None]]) -> Metric:
    """p50, p99 and maximum as gauges with a ``quantile`` label; a stage without a value has no sample."""
    labels = [*rows[0][0], "quantile"] if rows else ["quantile"]
    family = GaugeMetricFamily(name, text, labels=labels)
    for own, summary in rows:
        for quantile in ("p50", "p99", "max") if summary else ():
            assert summary is not None
            family.add_metric([*own.values(), quantile], summary[quantile])
    return family


def _streams(streams: list[dict[str, Any]]) -> Iterable[Metric]:
    records = CounterMetricFamily("touchline_rack_stream_records", "records stored", labels=["node", "camera"])
    quiet = GaugeMetricFamily("touchline_rack_stream_quiet_seconds", "since the last", labels=["node", "camera"])
    for stream in streams:
        labels = [stream["node"], str(stream["camera"])]
        records.add_metric(labels, stream["records"])
        quiet.add_metric(labels, stream["quiet_s"])
    yield records
    yield quiet


def _nodes(nodes: list[dict[str, Any]]) -> Iterable[Metric]:
    bound = GaugeMetricFamily("touchline_rack_node_clock_bound_ns", "as the node says", labels=["node"])
    offset = GaugeMetricFamily("touchline_rack_node_clock_offset_ns", "of its PTP servo, as it says", labels=["node"])
    aligned = GaugeMetricFamily("touchline_rack_node_aligned", "1: on the timeline of the site", labels=["node"])
    text = "records whose node did not say that its clock was within its bound"
    unflagged = CounterMetricFamily("touchline_rack_node_records_unflagged", text, labels=["node"])
    spool = GaugeMetricFamily("touchline_rack_node_spool_records", "as the node says", labels=["node"])
    age = GaugeMetricFamily("touchline_rack_node_health_age_seconds", "age of its health", labels=["node"])
    alive = GaugeMetricFamily("touchline_rack_node_alive", "1: fresh health that is no goodbye", labels=["node"])
    for node in nodes:
        for family, value in (
            (alive, int(node["alive"])),
            (bound, node["clock"]["bound_ns"]),
            (offset, node["clock"]["offset_ns"]),
            (aligned, int(node["clock"]["aligned"])),
            (unflagged, node["unflagged_records"]),
            (spool, node["spool_depth"]),
            (age, node["health_age_s"]),
        ):
            if value is not None:
                family.add_metric([node["node"]], value)
    yield from (alive, bound, offset, aligned, unflagged, spool, age)
    yield from _pairs([node for node in nodes if node["role"]])


def _pairs(nodes: list[dict[str, Any]]) -> Iterable[Metric]:
    """Who of each pair is active, and whose frames are taken; nothing without failover."""
    if not nodes:
        return
    active = GaugeMetricFamily("touchline_rack_node_active", "1: active in its pair, as it says", labels=["node"])
    epoch = GaugeMetricFamily("touchline_rack_node_epoch", "fencing epoch of its gate", labels=["node"])
    owner = GaugeMetricFamily("touchline_rack_camera_owner", "1: its frames are taken", labels=["camera", "node"])
    for node in nodes:
        active.add_metric([node["node"]], int(node["role"] == "active"))
        if node["epoch"] is not None:
            epoch.add_metric([node["node"]], node["epoch"])
        for camera in node["owns"]:
            owner.add_metric([str(camera), node["node"]], 1)
    yield from (active, epoch, owner)


def _alignment(status: dict[str, Any]) -> Iterable[Metric]:
    """The site's clocks together; no spread while fewer than two nodes are aligned."""
    spread_ns, fuse = status["alignment"]["spread_ns"], status["stats"]["fuse"]
    if spread_ns is not None:
        text = "two aligned nodes' stamps of one instant differ by at most this"
        yield _gauge("touchline_rack_alignment_spread_ns", text, spread_ns)
    for name, text in (
        ("mixed_moments", "fused moments in which a node that is not aligned stood beside others"),
        ("left_out_frames", "frames not shown: their node is not aligned and their stamps lie elsewhere"),
    ):
        yield CounterMetricFamily(f"touchline_rack_{name}", text, value=fuse[name])


_HEAT = {
    "temp_c": "junction temperature, as the node says",
    "duty_pct": "duty ordered of its fan",
    "rpm": "of its fan",
    "power_w": "sum of its rails, which reads below the wall",
    "cap_level": "rung of its clock caps, 0: none",
}
_CABINET = {
    "budget_w": "as configured",
    "known_w": "sum of the nodes that tell, which reads below the wall",
    "counted_w": "with the share of each node that does not tell, and what never tells",
    "alarm": "1: over its power budget",
    "unknown_nodes": "nodes whose power is not known",
}


def _heat(nodes: list[dict[str, Any]]) -> Iterable[Metric]:
    """Temperature and power of nodes that have a fan service; what is not known has no sample."""
    if not nodes:
        return
    hot = GaugeMetricFamily("touchline_rack_node_hot", "1: hot, or its fan service is silent", labels=["node"])
    for node in nodes:
        hot.add_metric([node["node"]], int(node["thermal"]["hot"]))
    yield hot
    for name, text in _HEAT.items():
        family = GaugeMetricFamily(f"touchline_rack_node_{name}", text, labels=["node"])
        for node in nodes:
            if node["thermal"][name] is not None:
                family.add_metric([node["node"]], node["thermal"][name])
        yield family


def _cabinets(cabinets: list[dict[str, Any]]) -> Iterable[Metric]:
    """Power by cabinet; nothing where none is configured."""
    if not cabinets:
        return
    for name, text in _CABINET.items():
        family = GaugeMetricFamily(f"touchline_rack_cabinet_{name}", text, labels=["cabinet"])
        for one in cabinets:
            counts = {"alarm": int(one["alarm"]), "unknown_nodes": len(one["unknown"])}
            family.add_metric([one["cabinet"]], {**one, **counts}[name])
        yield family


def exposition(status: Callable[[], dict[str, Any]]) -> bytes:
    """The text that Prometheus reads."""
    registry = CollectorRegistry()
    registry.register(RackCollector(status))
    return generate_latest(registry)
