"""PTP profiles, read from ``profiles.toml``, and what one comes to together with ``[clock.ptp]``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final, Literal

from pydantic import Field

from touchline.config import PtpSection, Section, load

PROFILES: Final = Path(__file__).parent / "profiles.toml"

Transport = Literal["L2", "UDPv4", "UDPv6"]
DelayMechanism = Literal["E2E", "P2P"]
Options = Mapping[str, int | str]


class Profile(Section):
    """One table of ``profiles.toml``."""

    title: str
    source: str
    domain: int = Field(ge=0, le=127)
    transport: Transport
    delay_mechanism: DelayMechanism
    transport_specific: int = Field(ge=0, le=15)
    priority1: int = Field(ge=0, le=255)
    priority2: int = Field(ge=1, le=255)
    options: dict[str, int | str]
    software: dict[str, int | str]


class Profiles(Section):
    """The whole of ``profiles.toml``."""

    default: Profile
    gptp: Profile
    smpte2059_2: Profile = Field(alias="smpte2059-2")


@dataclass(frozen=True, slots=True)
class Settings:
    """What holds for one port: the profile, and what the configuration puts in its place.

    ``domain`` and ``transport_specific`` (majorSdoId) also address management messages: ptp4l drops any other.
    """

    domain: int
    transport: Transport
    delay_mechanism: DelayMechanism
    transport_specific: int
    priority1: int
    priority2: int
    options: Options


@cache
def profiles() -> Profiles:
    """All profiles."""
    return load(PROFILES, Profiles)


def settings_of(ptp: PtpSection) -> Settings:
    """Return what ``[clock.ptp]`` comes to.

    A grandmaster's ``priority2`` is the profile's less one: among clocks of equal quality ours wins, and a clock that
    has a better source (GNSS: class 6) wins over ours, which ``priority1`` would forbid.
    """
    profile = {"default": profiles().default, "gptp": profiles().gptp}.get(ptp.profile, profiles().smpte2059_2)
    gives = ptp.role == "grandmaster"
    return Settings(
        domain=profile.domain if ptp.domain is None else ptp.domain,
        transport=ptp.transport or profile.transport,
        delay_mechanism=ptp.delay_mechanism or profile.delay_mechanism,
        transport_specific=profile.transport_specific,
        priority1=profile.priority1 if ptp.priority1 is None else ptp.priority1,
        priority2=profile.priority2 - gives if ptp.priority2 is None else ptp.priority2,
        options=profile.options if ptp.hardware else {**profile.options, **profile.software},
    )
