"""Configuration: one TOML per node, one for the rack; closed, typed, bounded, every error with its fix."""

from touchline.config.clock import ClockSection, PtpSection
from touchline.config.loader import Section, load, parse
from touchline.config.node import CameraSection, MqttSection, NodeConfig, RingSection
from touchline.config.rack import RackConfig
from touchline.config.track import TrackSection

__all__ = [
    "CameraSection",
    "ClockSection",
    "MqttSection",
    "NodeConfig",
    "PtpSection",
    "RackConfig",
    "RingSection",
    "Section",
    "TrackSection",
    "load",
    "parse",
]
