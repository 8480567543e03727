"""linuxptp's programs: the version found and its configuration. No code of theirs: they are started, never linked."""

from agent.clock.linuxptp.profile import Settings, settings_of
from agent.clock.linuxptp.render import phc2sys_args, ptp4l_conf
from agent.clock.linuxptp.version import Ptp4l, Version, find_ptp4l, parse_version
from agent.clock.linuxptp.write import NEEDS, write_config

__all__ = [
    "NEEDS",
    "Ptp4l",
    "Settings",
    "Version",
    "find_ptp4l",
    "parse_version",
    "phc2sys_args",
    "ptp4l_conf",
    "settings_of",
    "write_config",
]
