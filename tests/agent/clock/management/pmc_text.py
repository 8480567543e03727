"""pmc's printed form of each data set, from ours: what the two must agree on, field by field."""

from __future__ import annotations

from collections.abc import Mapping

from agent.clock.management import (
    CurrentDataSet,
    DataSet,
    DefaultDataSet,
    DefaultFlags,
    GrandmasterSettingsNp,
    MessageType,
    ParentDataSet,
    PortDataSet,
    PortDataSetNp,
    PortHwclockNp,
    PortPropertiesNp,
    PortState,
    PortStatsNp,
    SubscribeEventsNp,
    TimeFlags,
    TimePropertiesDataSet,
    TimeStamping,
    TimeStatusNp,
)

_PMC_TYPES = {
    MessageType.SYNC: "Sync",
    MessageType.DELAY_REQ: "Delay_Req",
    MessageType.PDELAY_REQ: "Pdelay_Req",
    MessageType.PDELAY_RESP: "Pdelay_Resp",
    MessageType.FOLLOW_UP: "Follow_Up",
    MessageType.DELAY_RESP: "Delay_Resp",
    MessageType.PDELAY_RESP_FOLLOW_UP: "Pdelay_Resp_Follow_Up",
    MessageType.ANNOUNCE: "Announce",
    MessageType.SIGNALING: "Signaling",
    MessageType.MANAGEMENT: "Management",
}


def parse(output: str) -> list[dict[str, str]]:
    """The answers in pmc's output, each as its lines ``key value``; a refusal is ``{"error": ""}``."""
    found: list[dict[str, str]] = []
    for line in output.splitlines():
        if " RESPONSE MANAGEMENT_ERROR_STATUS" in line:
            found.append({"error": ""})
        elif " RESPONSE MANAGEMENT " in line:
            found.append({})
        elif line.startswith("\t\t"):
            key, _, value = line.strip().partition(" ")
            found[-1][key] = value.strip()
    return found


def shown(data: DataSet) -> dict[str, str]:
    """As pmc would print it."""
    return {key: str(value) for key, value in _fields(data).items()}


def without_later_events(text: Mapping[str, str], version: tuple[int, ...]) -> dict[str, str]:
    """Less the lines that pmc before 4.0 does not print: it knows one event."""
    later = ("NOTIFY_TIME_SYNC", "NOTIFY_PARENT_DATA_SET") if version < (4,) else ()
    return {key: value for key, value in text.items() if key not in later}


def _fields(data: DataSet) -> Mapping[str, object]:
    fields: Mapping[str, object]
    match data:
        case DefaultDataSet():
            fields = {
                "twoStepFlag": int(DefaultFlags.TWO_STEP in data.flags),
                "slaveOnly": int(DefaultFlags.SLAVE_ONLY in data.flags),
                "numberPorts": data.number_ports,
                "priority1": data.priority1,
                "clockClass": data.clock_class,
                "clockAccuracy": f"0x{data.clock_accuracy:02x}",
                "offsetScaledLogVariance": f"0x{data.offset_scaled_log_variance:04x}",
                "priority2": data.priority2,
                "clockIdentity": data.clock_identity,
                "domainNumber": data.domain_number,
            }
        case CurrentDataSet():
            fields = {
                "stepsRemoved": data.steps_removed,
                "offsetFromMaster": f"{data.offset_from_master_ns:.1f}",
                "meanPathDelay": f"{data.mean_path_delay_ns:.1f}",
            }
        case ParentDataSet():
            fields = {
                "parentPortIdentity": data.parent_port_identity,
                "parentStats": data.parent_stats,
                "observedParentOffsetScaledLogVariance": f"0x{data.observed_parent_offset_scaled_log_variance:04x}",
                "observedParentClockPhaseChangeRate": (
                    f"0x{data.observed_parent_clock_phase_change_rate & 0xFFFF_FFFF:08x}"
                ),
                "grandmasterPriority1": data.grandmaster_priority1,
                "gm.ClockClass": data.grandmaster_clock_class,
                "gm.ClockAccuracy": f"0x{data.grandmaster_clock_accuracy:02x}",
                "gm.OffsetScaledLogVariance": f"0x{data.grandmaster_offset_scaled_log_variance:04x}",
                "grandmasterPriority2": data.grandmaster_priority2,
                "grandmasterIdentity": data.grandmaster_identity,
            }
        case TimePropertiesDataSet():
            fields = {"currentUtcOffset": data.current_utc_offset_s, **_time(data.flags, data.time_source)}
        case GrandmasterSettingsNp():
            fields = {
                "clockClass": data.clock_class,
                "clockAccuracy": f"0x{data.clock_accuracy:02x}",
                "offsetScaledLogVariance": f"0x{data.offset_scaled_log_variance:04x}",
                "currentUtcOffset": data.current_utc_offset_s,
                **_time(data.flags, data.time_source),
            }
        case TimeStatusNp():
            phase = data.last_gm_phase_change_scaled & (1 << 96) - 1
            fields = {
                "master_offset": data.master_offset_ns,
                "ingress_time": data.ingress_time_ns,
                "cumulativeScaledRateOffset": f"{data.cumulative_rate_offset_ppb / 1e9:+.9f}",
                "scaledLastGmPhaseChange": data.scaled_last_gm_phase_change,
                "gmTimeBaseIndicator": data.gm_time_base_indicator,
                "lastGmPhaseChange": f"0x{phase >> 80:04x}'{phase >> 16 & (1 << 64) - 1:016x}.{phase & 0xFFFF:04x}",
                "gmPresent": str(data.gm_present).lower(),
                "gmIdentity": data.gm_identity,
            }
        case SubscribeEventsNp():
            names = ("NOTIFY_PORT_STATE", "NOTIFY_TIME_SYNC", "NOTIFY_PARENT_DATA_SET")
            on = {name: "on" if number in data.events else "off" for number, name in enumerate(names)}
            fields = {"duration": data.duration_s, **on}
        case _:
            fields = _port_fields(data)
    return fields


def _port_fields(data: DataSet) -> Mapping[str, object]:
    match data:
        case PortDataSet():
            return {
                "portIdentity": data.port_identity,
                "portState": PortState(data.port_state).name,
                "logMinDelayReqInterval": data.log_min_delay_req_interval,
                "peerMeanPathDelay": int(data.peer_mean_path_delay_ns),
                "logAnnounceInterval": data.log_announce_interval,
                "announceReceiptTimeout": data.announce_receipt_timeout,
                "logSyncInterval": data.log_sync_interval,
                "delayMechanism": int(data.delay_mechanism),
                "logMinPdelayReqInterval": data.log_min_pdelay_req_interval,
                "versionNumber": data.version_number,
            }
        case PortDataSetNp():
            return {
                "neighborPropDelayThresh": data.neighbor_prop_delay_thresh_ns,
                "asCapable": int(data.as_capable),
            }
        case PortPropertiesNp():
            return {
                "portIdentity": data.port_identity,
                "portState": PortState(data.port_state).name,
                "timestamping": TimeStamping(data.time_stamping).name,
                "interface": data.interface,
            }
        case PortStatsNp():
            ways = (("rx", data.received), ("tx", data.sent))
            counts = {f"{way}_{name}": values[kind] for way, values in ways for kind, name in _PMC_TYPES.items()}
            return {"portIdentity": data.port_identity, **counts}
        case PortHwclockNp():
            return {"portIdentity": data.port_identity, "phcIndex": data.phc_index, "flags": int(data.flags)}
    raise AssertionError(type(data))


def _time(flags: TimeFlags, source: int) -> dict[str, object]:
    names = {
        "leap61": TimeFlags.LEAP_61,
        "leap59": TimeFlags.LEAP_59,
        "currentUtcOffsetValid": TimeFlags.UTC_OFFSET_VALID,
        "ptpTimescale": TimeFlags.PTP_TIMESCALE,
        "timeTraceable": TimeFlags.TIME_TRACEABLE,
        "frequencyTraceable": TimeFlags.FREQUENCY_TRACEABLE,
    }
    return {**{name: int(flag in flags) for name, flag in names.items()}, "timeSource": f"0x{source:02x}"}
