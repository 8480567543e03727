"""The calibration file ``touchline.calibration/1``: JSON, closed (an unknown key is an error), written atomically.

docs/calibration.md explains every key; docs/decisions/0005-calibration-file.md says why it looks like this.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from calibration.camera_model import CROWN_MAX_M, CameraCalibration, Handedness, Landmark, LandmarkState, Quality
from calibration.lens import DISTORTION_LENGTHS
from touchline.errors import ConfigError, ResourceError

SCHEMA = "touchline.calibration/1"
MAX_FILE_BYTES = 4_000_000

Finite = Annotated[float, Field(allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0)]
Side = Annotated[int, Field(ge=1, le=65_536)]


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Intrinsics(_Closed):
    fx_px: Positive
    fy_px: Positive
    cx_px: Finite
    cy_px: Finite
    distortion: list[Finite]

    @field_validator("distortion")
    @classmethod
    def _known_length(cls, value: list[float]) -> list[float]:
        if len(value) not in DISTORTION_LENGTHS:
            raise ValueError(f"has {len(value)} numbers; OpenCV order takes one of {DISTORTION_LENGTHS}")
        return value


class _Pose(_Closed):
    rvec_rad: tuple[Finite, Finite, Finite]
    t_m: tuple[Finite, Finite, Finite]
    handedness: Handedness


class _Landmark(_Closed):
    label: Annotated[str, Field(max_length=64)]
    pitch_m: tuple[Finite, Finite]
    px: tuple[Finite, Finite]
    state: LandmarkState
    error_px: Finite | None
    error_m: Finite | None
    reason: Annotated[str, Field(max_length=400)]


class _Quality(_Closed):
    rms_m: Finite
    max_m: Finite
    rms_px: Finite
    max_px: Finite
    sigma_px: Finite
    condition: Finite
    used: Count
    rejected: Count
    gate_m: Positive
    gate_holds: bool
    method: Annotated[str, Field(max_length=200)]


class _Document(_Closed):
    schema_name: Literal["touchline.calibration/1"] = Field(alias="schema")
    camera: Annotated[str, Field(max_length=64)]
    image_size_px: tuple[Side, Side]
    pitch_m: tuple[Positive, Positive]
    crown_m: Annotated[float, Field(ge=0, le=CROWN_MAX_M)]
    intrinsics: _Intrinsics
    pose: _Pose
    quality: _Quality | None
    parameter_covariance: list[list[Finite]] | None
    landmarks: Annotated[list[_Landmark], Field(max_length=10_000)]


def to_document(calibration: CameraCalibration) -> dict[str, Any]:
    """The calibration as the file's plain JSON values."""
    matrix, quality = calibration.camera_matrix, calibration.quality
    covariance = calibration.parameter_covariance
    return {
        "schema": SCHEMA,
        "camera": calibration.camera,
        "image_size_px": list(calibration.image_size_px),
        "pitch_m": list(calibration.pitch_m),
        "crown_m": calibration.crown_m,
        "intrinsics": {
            "fx_px": float(matrix[0, 0]),
            "fy_px": float(matrix[1, 1]),
            "cx_px": float(matrix[0, 2]),
            "cy_px": float(matrix[1, 2]),
            "distortion": calibration.distortion.tolist(),
        },
        "pose": {
            "rvec_rad": calibration.rvec.tolist(),
            "t_m": calibration.t_m.tolist(),
            "handedness": calibration.handedness.value,
        },
        "quality": None if quality is None else dict(vars(quality)),
        "parameter_covariance": None if covariance is None else covariance.tolist(),
        "landmarks": [_landmark_document(landmark) for landmark in calibration.landmarks],
    }


def _landmark_document(landmark: Landmark) -> dict[str, Any]:
    return {
        **vars(landmark),
        "pitch_m": list(landmark.pitch_m),
        "px": list(landmark.px),
        "state": landmark.state.value,
    }


def from_document(document: Any, source: str) -> CameraCalibration:
    """Validate plain JSON values; ``source`` names the file in errors.

    Raises:
        ConfigError: naming the file, the key, what was found and what is allowed.
    """
    try:
        parsed = _Document.model_validate(document)
    except ValidationError as error:
        raise _config_error(error, source) from error
    lens, pose = parsed.intrinsics, parsed.pose
    matrix = np.array([[lens.fx_px, 0, lens.cx_px], [0, lens.fy_px, lens.cy_px], [0, 0, 1]])
    quality = None if parsed.quality is None else Quality(**parsed.quality.model_dump())
    try:
        return CameraCalibration(
            parsed.image_size_px,
            matrix,
            np.array(lens.distortion),
            np.array(pose.rvec_rad),
            np.array(pose.t_m),
            pose.handedness,
            parsed.pitch_m,
            parsed.crown_m,
            parsed.camera,
            quality,
            tuple(Landmark(**landmark.model_dump()) for landmark in parsed.landmarks),
            _covariance(parsed.parameter_covariance),
        )
    except ConfigError as error:
        raise ConfigError(f"{source}: {error.message}", hint=error.hint) from error


def _covariance(rows: list[list[float]] | None) -> np.ndarray[Any, np.dtype[np.float64]] | None:
    if rows is None:
        return None
    if any(len(row) != len(rows) for row in rows):
        raise ConfigError("parameter_covariance is not square", hint="write it with touchline calibrate camera")
    return np.array(rows, dtype=np.float64)


def _config_error(error: ValidationError, source: str) -> ConfigError:
    first = error.errors(include_url=False, include_context=False)[0]
    key = ".".join(str(part) for part in first["loc"]) or "(top level)"
    found = repr(first["input"])
    found = found if len(found) <= 60 else found[:57] + "..."
    if first["type"] == "extra_forbidden":
        return ConfigError(f"{source}: unknown key {key}", hint=f"remove it; the format is {SCHEMA}")
    if first["type"] == "missing":
        return ConfigError(f"{source}: key {key} is missing", hint="write the file with touchline calibrate camera")
    reason = str(first["msg"]).removeprefix("Value error, ")
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    hint = f"the format is {SCHEMA}; write the file with touchline calibrate camera"
    return ConfigError(f"{source}: {key}: {reason}, found {found}{more}", hint=hint)


def load(path: Path) -> CameraCalibration:
    """Read a calibration file. Raises ConfigError naming file, key and fix."""
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError as error:
        raise ConfigError(f"{path} does not exist", hint="make it with touchline calibrate camera") from error
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}", hint="check the path and its rights") from error
    if len(data) > MAX_FILE_BYTES:
        raise ConfigError(f"{path} is larger than {MAX_FILE_BYTES} bytes", hint="this is no calibration file")
    return loads(data, str(path))


def loads(data: bytes, source: str) -> CameraCalibration:
    """Parse the bytes of a calibration file; ``source`` names it in errors. Raises ConfigError."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{source} is not JSON: {error}", hint=f"expected a {SCHEMA} file") from error
    return from_document(document, source)


def save(calibration: CameraCalibration, path: Path) -> None:
    """Write a calibration file: to a temporary name, flushed to the disk, then renamed into place.

    Raises:
        ResourceError: the disk refuses.
    """
    text = json.dumps(to_document(calibration), indent=1, allow_nan=False) + "\n"
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise ResourceError(
            f"{path} cannot be written: {error.strerror}", hint="check the folder and the disk"
        ) from error
