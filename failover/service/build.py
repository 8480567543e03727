"""The service of one node, from its configuration."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from failover.actions.address import VirtualAddress, parse_addresses
from failover.actions.perform import Actions, Parts
from failover.cut import restore_leftover
from failover.history import HistoryWriter, history_folder
from failover.link import PublisherPort, socket_path
from failover.link_recorder import RecorderPort, recorder_socket_path
from failover.service.control import ControlServer
from failover.service.epoch import EpochFile
from failover.service.realtime import become_punctual
from failover.service.service import FailoverService, Ports
from failover.service.settings import settings_of
from failover.wire.client import NodeWire
from touchline.config import NodeConfig
from touchline.config.failover import FailoverSection
from touchline.errors import ResourceError
from touchline.timeline import SystemClock

_LOG: Final = logging.getLogger("failover")


def open_service(config: NodeConfig, section: FailoverSection, unsaid: Callable[[], int]) -> FailoverService:
    """Open sockets and threads. Raises ConfigError, ResourceError or HardwareError naming what cannot be had.

    ``unsaid``: how many lines the log has not taken; for the status.
    """
    run_dir = config.node.run_dir
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ResourceError(
            f"node.run_dir {run_dir} cannot be used: {error.strerror}", hint="name a folder that this user can write"
        ) from error
    restored = restore_leftover(run_dir)
    if restored is not None:
        _LOG.warning("a drill was killed: its links are on again %s", "; ".join(restored.trouble))
    address = None
    if section.address:
        address = VirtualAddress(parse_addresses(section.address), section.address_interface)
        for warning in address.check():
            _LOG.warning("virtual address: %s", warning)
    settings = settings_of(section, config.node.name)
    wire = NodeWire.open(section, config.mqtt, config.node.name)
    publisher, control = PublisherPort(socket_path(run_dir)), ControlServer(run_dir)
    folder = history_folder(config)
    recorders = RecorderPort(recorder_socket_path(run_dir)) if config.record is not None else None
    ports = Ports(wire, publisher, control, HistoryWriter(folder), EpochFile(folder), recorders, unsaid)
    cameras = [camera.number for camera in config.camera] if recorders is not None else []
    clock = SystemClock()

    def actions(service: FailoverService) -> Actions:
        return Actions(
            Parts(
                settings,
                address=address,
                recorder=service.recorders.outcome if cameras else None,
                event=service.publish,
                finished=service.finished,
                noted=service.noted,
                stamp=clock.at,
                priority=max(0, section.realtime_priority - 1),
            )
        )

    scheduling = become_punctual(section.realtime_priority)
    _LOG.info("pair %s, twin %s, %s", section.pair, section.twin, scheduling)
    return FailoverService(settings, ports, cameras, actions, scheduling)
