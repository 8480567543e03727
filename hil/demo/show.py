"""What a person sees of the demo in the terminal: live while it runs, a table when it is over."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from hil.demo.result import STAGES


def _number(value: Any, digits: int = 1) -> str:
    return "-" if value is None else f"{value:,.{digits}f}" if isinstance(value, float) else f"{value:,}"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f} %"


def live_view(url: str, elapsed_s: float, seconds: float, status: Mapping[str, Any], stats: Mapping[str, Any]) -> Panel:
    """The running demo: progress, flow, losses, stages."""
    flow = Table.grid(padding=(0, 3))
    frames, records = status.get("frames", {}), stats.get("records", {})
    latency = stats.get("latency_ms") or {}
    fps = "  ".join(f"camera {camera}: {rate:.1f} fps" for camera, rate in status.get("fps", {}).items())
    flow.add_row("cameras", Text(fps or "starting", style="cyan"))
    flow.add_row("frames", f"{_number(frames.get('captured'))} captured, {_number(frames.get('processed'))} processed")
    flow.add_row("records", f"{_number(records.get('unique'))} stored, {_number(records.get('lost'))} lost")
    latency_text = " / ".join(_number(latency.get(key)) for key in ("p50", "p99", "max"))
    flow.add_row("exposure to rack", f"{latency_text} ms (p50 / p99 / max)")
    flow.add_row("dropped", Text(_drops(status), style="red" if status.get("dropped") else "green"))
    bar = Table.grid(expand=True)  # a bar alone ends without a new line and swallows the next row
    bar.add_row(ProgressBar(total=max(seconds, 1e-9), completed=min(elapsed_s, seconds)))
    body: list[RenderableType] = [
        bar,
        flow,
        _stage_table(status.get("stages_ms", {})),
    ]
    return Panel(Group(*body), title="Touchline", subtitle=f"live pitch: {url}", border_style="green")


def _drops(status: Mapping[str, Any]) -> str:
    drops = status.get("dropped", {})
    return ", ".join(f"{reason} {count}" for reason, count in drops.items()) if drops else "nothing"


def _stage_table(stages: Mapping[str, Mapping[str, float]]) -> Table:
    table = Table("stage", "p50 ms", "p99 ms", box=None, header_style="dim")
    for column in table.columns[1:]:
        column.justify = "right"
    for name in STAGES:
        if name in stages:
            table.add_row(name, f"{stages[name]['p50']:.2f}", f"{stages[name]['p99']:.2f}")
    return table


def result_table(result: Mapping[str, Any]) -> Table:
    """The figures of a finished demo."""
    table = Table("what", "figure", title=f"Touchline demo, {result['seconds']:.0f} s", title_justify="left")
    frames, records, latency = result["frames"], result["records"], result["latency_ms"]
    table.add_row("frames captured / dropped", f"{_number(frames['captured'])} / {_number(frames['dropped'])}")
    table.add_row("records published / received", f"{_number(records['published'])} / {_number(records['received'])}")
    bad = records["lost"] or records["duplicated"]
    lost = Text(f"{_number(records['lost'])} / {_number(records['duplicated'])}", style="bold red" if bad else "green")
    table.add_row("records lost / duplicated", lost)
    figures = " / ".join(_number(latency[key]) for key in ("p50", "p99", "max"))
    table.add_row("exposure to rack p50 / p99 / max, ms", figures)
    for name, one in result["stages_ms"].items():
        table.add_row(f"  {name} p50 / p99, ms", f"{one['p50']:.2f} / {one['p99']:.2f}")
    error = result["position_error_m"]
    if error is not None:
        table.add_row("position error rms / p95, m", f"{_number(error['rms'], 3)} / {_number(error['p95'], 3)}")
        shares = f"{_percent(error['matched_share'])} / {_percent(error['found_share'])}"
        table.add_row("records near a person / people in view found", shares)
    burst = result["burst"]
    table.add_row("records in a burst p50 / max", f"{burst['records_p50']} / {burst['records_max']}")
    table.add_row("spool depth max, records", _number(result["spool"]["depth_max"]))
    engine = result["engine"]
    table.add_row("engine", f"{engine['name']}, {_number(engine['fps'])} frames/s (1 / median inference)")
    table.add_row("dropped by reason", _drops(result))
    return table
