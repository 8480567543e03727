"""From a camera's calibration to that of the picture it really delivers: region cut out, size scaled, shape checked."""

from __future__ import annotations

from calibration.camera_model import CameraCalibration
from touchline.config import CameraSection
from touchline.errors import ConfigError

_SHAPE_TOLERANCE = 0.01  # a pixel lost to even sizes is fine; 4:3 for 16:9 is another picture


def view_of(calibration: CameraCalibration, camera: CameraSection) -> CameraCalibration:
    """Return the calibration of the delivered picture.

    Raises ConfigError when the region leaves the calibrated picture, or when the delivered size has another shape than
    the region, which means that the calibration belongs to another camera or another mode.
    """
    width, height = calibration.image_size_px
    roi = camera.roi or [0, 0, width, height]
    if min(roi) >= 0 and roi[2] > 0 and roi[3] > 0:
        stretch = camera.width_px * roi[3] / (camera.height_px * roi[2])
        if abs(stretch - 1.0) > _SHAPE_TOLERANCE:
            raise ConfigError(
                f"{camera.calibration} is for {width}x{height}; camera {camera.number} delivers "
                f"{camera.width_px}x{camera.height_px} of a {roi[2]}x{roi[3]} region, another shape",
                hint="calibrate this camera, or set camera.roi to the part of the picture that is used",
            )
    return calibration.for_view(roi, (camera.width_px, camera.height_px))
