"""``[clock]`` and ``[clock.ptp]``: where stamps come from and how much error is too much (CLK-1, CLK-2).

The model says what is wanted; :mod:`agent.clock.linuxptp` turns it into ptp4l's and phc2sys's own words.
"""

from __future__ import annotations

from typing import Final, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from touchline.config.loader import Section

LIMIT_SYSTEM_US: Final = 2_000_000.0  # twice what an undisciplined system clock claims: always within, as a rule
LIMIT_HARDWARE_US: Final = 1.0  # "sub-microsecond" is all that is published of the Orin's Ethernet clock
LIMIT_SOFTWARE_US: Final = 100.0  # stamps taken in the kernel, behind interrupts and queues: tens of microseconds
MAX_LIMIT_US: Final = 10_000_000.0


class PtpSection(Section):
    """``[clock.ptp]``: the port to the network's time. Used with ``source = "ptp"``."""

    interface: str = Field(
        default="eth0",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,14}$",
        description="network interface of the PTP port",
    )
    role: Literal["follower", "grandmaster"] = Field(
        default="follower",
        description="follower: never anyone's master; grandmaster: never follows, and gives this node's system time",
    )
    profile: Literal["default", "gptp", "smpte2059-2"] = Field(
        default="default", description="rates, domain and transport as the rest of the network has them"
    )
    domain: int | None = Field(default=None, ge=0, le=127, description="PTP domain; absent: the profile's")
    time_stamping: Literal["hardware", "software"] = Field(
        default="hardware", description="who stamps packets: the interface's own clock (PHC), or the kernel"
    )
    free_running: bool = Field(
        default=False, description="software stamps only: ptp4l measures and never touches this machine's clock (tests)"
    )
    transport: Literal["L2", "UDPv4", "UDPv6"] | None = Field(
        default=None, description="how PTP messages travel; absent: as the profile says"
    )
    delay_mechanism: Literal["E2E", "P2P"] | None = Field(
        default=None, description="path delay to the master or to the neighbour; absent: as the profile says"
    )
    priority1: int | None = Field(
        default=None, ge=0, le=255, description="grandmaster: counts before all quality, lower wins; absent: profile's"
    )
    priority2: int | None = Field(
        default=None,
        ge=0,
        le=255,
        description="grandmaster: counts after quality, lower wins; absent: profile's - 1",
    )
    delay_asymmetry_ns: int = Field(
        default=0,
        ge=-10_000_000,
        le=10_000_000,
        description=(
            "ptp4l's delayAsymmetry: how much longer than the mean delay a packet takes from master to here (negative: "
            "from here to master). Uncorrected, this node is late by as much (CLK-2: 200 cures an offset of -200 ns)"
        ),
    )
    ingress_latency_ns: int = Field(
        default=0,
        ge=-1_000_000,
        le=1_000_000,
        description="ptp4l's ingressLatency: from the connector to the receive stamp; subtracted from the stamp",
    )
    egress_latency_ns: int = Field(
        default=0,
        ge=-1_000_000,
        le=1_000_000,
        description="ptp4l's egressLatency: from the transmit stamp to the connector; added to the stamp",
    )
    asymmetry_uncertainty_ns: float = Field(
        default=0.0,
        ge=0,
        le=10_000_000,
        description="how wrong these three may be together, which no PTP exchange can show; part of every bound",
    )
    tx_timestamp_timeout_ms: int = Field(
        default=50,
        ge=1,
        le=1000,
        description="wait for the stamp of a packet sent; ptp4l's own 1 ms (3.1) and 10 ms (4.x) are often too short",
    )
    step_threshold_ns: int = Field(
        default=1_000_000,
        ge=0,
        le=10_000_000_000,
        description="a larger offset is stepped away, a smaller one steered; 0: steps only at the start",
    )
    servo_lock_ns: int | None = Field(
        default=None,
        ge=1,
        le=1_000_000_000,
        description="offset up to which the servo is locked; absent: half the limit",
    )
    uds_path: str = Field(
        default="/run/touchline-ptp/ptp4l",
        pattern=r"^/[A-Za-z0-9._/-]{1,90}$",
        description="ptp4l's management socket; the units may write in /run/touchline-ptp only",
    )
    phc: str = Field(
        default="auto", pattern=r"^(auto|/dev/ptp[0-9]{1,3})$", description="hardware clock; auto: the interface's own"
    )
    pairs: Literal["auto", "nvpps", "phc"] = Field(
        default="auto",
        description="where cross-timestamps come from: /dev/nvpps0 or the PHC; auto: nvpps if there",
    )
    holdover_wander_ppb_per_s: float = Field(
        default=10.0,
        ge=0,
        le=10_000,
        description=(
            "how fast heat may bend the oscillator while no time comes in. 10 = 0.2 ppm/K (an AT-cut crystal of +-10 "
            "ppm from -20 to 70 degrees C) times 0.05 K/s (a box that sun or load warms by 3 K a minute)"
        ),
    )
    discipline_system_clock: bool = Field(
        default=True,
        description="follower with hardware stamps: phc2sys sets the system clock from the PHC, and NTP is stopped",
    )

    @field_validator("interface")
    @classmethod
    def _no_word_of_ptp4l(cls, value: str) -> str:
        if value.lower() == "global":
            raise ValueError('an interface named "global" cannot be written in ptp4l\'s configuration')
        return value

    @model_validator(mode="after")
    def _what_goes_together(self) -> PtpSection:
        if self.free_running and self.hardware:
            raise ValueError(
                'free_running = true needs time_stamping = "software": a hardware clock that nobody steers never locks'
            )
        if self.profile == "gptp" and (self.transport not in {None, "L2"} or self.delay_mechanism not in {None, "P2P"}):
            raise ValueError('profile = "gptp" is L2 and P2P by definition; leave transport and delay_mechanism away')
        return self

    @property
    def hardware(self) -> bool:
        """Whether the interface's own clock stamps the packets."""
        return self.time_stamping == "hardware"


class ClockSection(Section):
    """``[clock]``: where stamps come from and how much error is too much (CLK-1)."""

    source: Literal["system", "ptp"] = Field(
        default="system", description="system: this machine's clock, never locked; ptp: the network's, by ptp4l"
    )
    ptp: PtpSection = Field(default_factory=PtpSection, description="the keys of [clock.ptp] must go together")
    bound_limit_us: float = Field(
        default=None,
        validate_default=True,
        gt=0,
        le=MAX_LIMIT_US,
        description="error bound beyond which a stamp is unlocked; absent: 1 us, software stamps 100 us, system 2 s",
    )
    on_unlocked: Literal["flag", "required"] = Field(
        default="flag", description="flag: records say it; required: nothing is published while the clock is unlocked"
    )

    @field_validator("bound_limit_us", mode="before")
    @classmethod
    def _limit_of_the_source(cls, value: object, info: ValidationInfo) -> object:
        if value is not None:
            return value
        ptp = info.data.get("ptp")
        if info.data.get("source") != "ptp" or not isinstance(ptp, PtpSection):
            return LIMIT_SYSTEM_US
        return LIMIT_HARDWARE_US if ptp.hardware else LIMIT_SOFTWARE_US

    @model_validator(mode="after")
    def _the_source_can_lock(self) -> ClockSection:
        if self.on_unlocked == "required" and self.source == "system":
            raise ValueError(
                'on_unlocked = "required" needs a clock that can lock, source = "ptp"; the system clock never is locked'
            )
        return self

    @property
    def bound_limit_ns(self) -> int:
        """Error bound beyond which a stamp is unlocked, ns."""
        return max(1, round(self.bound_limit_us * 1000))

    @property
    def servo_lock_ns(self) -> int:
        """Offset up to which the servo counts as locked, ns: as configured, else half the limit."""
        return self.ptp.servo_lock_ns or max(1, self.bound_limit_ns // 2)

    @property
    def runs_ptp4l(self) -> bool:
        """Whether this node needs ptp4l."""
        return self.source == "ptp"

    @property
    def runs_phc2sys(self) -> bool:
        """Whether this node needs phc2sys: a PHC to read the system clock from, or to set from it as a grandmaster."""
        return self.runs_ptp4l and self.ptp.hardware and (self._gives or self.ptp.discipline_system_clock)

    @property
    def steers_system_clock(self) -> bool:
        """Whether PTP sets this machine's system clock, so that nothing else may (NTP)."""
        if not self.runs_ptp4l or self._gives:
            return False
        return self.ptp.discipline_system_clock if self.ptp.hardware else not self.ptp.free_running

    @property
    def _gives(self) -> bool:
        return self.ptp.role == "grandmaster"
