"""``[track]``: association and the metric filter (POS-3, POS-4). Every time is in seconds, never in frames.

This model is the tracker's own configuration: :class:`agent.track.Tracker` takes it as it is.
"""

from __future__ import annotations

import math

from pydantic import Field, model_validator

from touchline.config.loader import Section


class TrackSection(Section):
    """Settings of one camera's tracker, and how wrong a box's lower edge may be."""

    sigma_px: float = Field(
        default=1.0,
        ge=0.01,
        le=100.0,
        description="error of a box's lower edge that does not depend on its size, px",
    )
    sigma_share: float = Field(
        default=0.02,
        ge=0.0,
        le=1.0,
        description="error of a box's lower edge as a share of its height; adds as a variance",
    )
    high_score: float = Field(
        default=0.6,
        ge=0.0,
        le=1.0,
        description="detections at or above it are associated first",
    )
    low_score: float = Field(
        default=0.1,
        ge=0.0,
        le=1.0,
        description="detections below it are ignored; between the two they may only continue a track",
    )
    spawn_score: float = Field(
        default=0.6,
        ge=0.0,
        le=1.0,
        description="least score that may start a track",
    )
    process_noise_mps2: float = Field(
        default=0.35,
        ge=0.01,
        le=10.0,
        description=(
            "standard deviation of the change of acceleration in one step of process_rate_hz (POS-3: 0.35 "
            "m/s2 at 25 Hz). It is turned into a spectral density, so the filter is the same at any rate"
        ),
    )
    process_rate_hz: float = Field(
        default=25.0,
        ge=1.0,
        le=1000.0,
        description="rate at which process_noise_mps2 is stated",
    )
    initial_speed_mps: float = Field(
        default=3.0,
        ge=0.1,
        le=20.0,
        description="standard deviations of a new track's unknown motion",
    )
    initial_acceleration_mps2: float = Field(
        default=1.5,
        ge=0.01,
        le=20.0,
        description="standard deviations of a new track's unknown motion",
    )
    gate_probability: float = Field(
        default=0.9999,
        ge=0.5,
        le=0.999999,
        description=(
            "chi-square gate, probability that a right detection passes (two degrees of freedom); wide, "
            "because the noise of real boxes is not Gaussian and the cost, not the gate, tells people "
            "apart"
        ),
    )
    occlusion_s: float = Field(
        default=0.6,
        ge=0.0,
        le=10.0,
        description="unseen for longer than this, a track moves in a straight line (POS-4: 0.6 s)",
    )
    occlusion_gate_m: float = Field(
        default=0.9,
        ge=0.05,
        le=10.0,
        description="gate of such a track, around the line (POS-4: 0.9 m)",
    )
    lost_buffer_s: float = Field(
        default=1.0,
        ge=0.0,
        le=30.0,
        description=("unseen for longer than this, a track ends. A gap between frames longer than this is a new start"),
    )
    publish_coast_s: float = Field(
        default=0.6,
        ge=0.0,
        le=30.0,
        description="an unseen track is still given out, flagged predicted, for this long; 0 = never",
    )
    confirm_hits: int = Field(
        default=3,
        ge=1,
        le=100,
        description=(
            "detections that a new track needs before it is given out, none of them more than "
            "tentative_buffer_s after the one before, or in neighbouring frames at low rates"
        ),
    )
    tentative_buffer_s: float = Field(
        default=0.2,
        ge=0.0,
        le=10.0,
        description="an unconfirmed track unseen for longer than this ends",
    )
    overlap_weight: float = Field(
        default=15.0,
        ge=0.0,
        le=100.0,
        description="weight of box overlap in the association cost, in units of squared sigma; 0 = ground only",
    )
    overlap_gate: float = Field(
        default=0.35,
        ge=0.0,
        le=1.0,
        description=("a box overlap at or above it is let through the gate even where the feet are not (legs hidden)"),
    )
    duplicate_overlap: float = Field(
        default=0.5,
        ge=0.05,
        le=1.0,
        description="a detection that overlaps a followed person's box this much starts no track (no ghosts)",
    )
    height_prior_m: float = Field(
        default=1.8,
        ge=0.5,
        le=2.5,
        description="height of a person not yet measured",
    )
    height_prior_sigma_m: float = Field(
        default=0.15,
        ge=0.01,
        le=1.0,
        description="height of a person not yet measured",
    )
    height_sigma_m: float = Field(
        default=0.12,
        ge=0.005,
        le=1.0,
        description="standard deviation of one height measurement (posture and box noise)",
    )
    height_drift_m: float = Field(
        default=0.01,
        ge=0.0,
        le=1.0,
        description="random walk of height in one second",
    )
    position_floor_m: float = Field(
        default=0.02,
        ge=0.001,
        le=1.0,
        description="standard deviation added to every ground position (calibration's own error)",
    )
    position_limit_m: float = Field(
        default=10.0,
        ge=0.5,
        le=100.0,
        description="detections whose ground standard deviation exceeds this are not on the pitch",
    )
    max_tracks: int = Field(
        default=128,
        ge=1,
        le=4096,
        description="capacity of the state arrays",
    )
    max_detections: int = Field(
        default=512,
        ge=1,
        le=16384,
        description="most detections of one frame, best scores first",
    )

    @model_validator(mode="after")
    def _scores_in_order(self) -> TrackSection:
        if self.low_score > min(self.high_score, self.spawn_score):
            raise ValueError("low_score must not be above high_score or spawn_score")
        return self

    @property
    def jerk_density(self) -> float:
        """Spectral density of the white jerk that drives the acceleration, (m/s2)^2 per second."""
        return self.process_noise_mps2**2 * self.process_rate_hz

    @property
    def gate_chi2(self) -> float:
        """Chi-square quantile of the gate for two degrees of freedom: -2 ln(1 - p)."""
        return -2.0 * math.log1p(-self.gate_probability)
