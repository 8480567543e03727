"""From a source image to the network's input tensor and back: planned once, then one pass per frame."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from calibration.detector.boxes import PAD_GREY, FloatArray, plan_letterbox

_UNIT = np.float32(1.0 / 255.0)


class Letterbox:
    """Scales an RGB image into the middle of a preallocated float32 NCHW tensor, 0..1, grey around it.

    Args:
        source_size_px: (width, height) of the images to come.
        input_size_px: (width, height) of the network's input.

    The geometry is :func:`calibration.detector.boxes.plan_letterbox`, the same one that training used.
    """

    def __init__(self, source_size_px: tuple[int, int], input_size_px: tuple[int, int]) -> None:
        self.source_size_px = source_size_px
        self.input_size_px = input_size_px
        self.plan = plan_letterbox(source_size_px, input_size_px)
        width, height = self.plan.placed_size_px
        left, top = int(self.plan.pad_x_px), int(self.plan.pad_y_px)
        self._inner_px = (width, height)
        self._method = cv2.INTER_AREA if self.plan.scale < 1 else cv2.INTER_LINEAR
        self._resized = np.empty((height, width, 3), np.uint8)
        self._planes = [np.empty((height, width), np.uint8) for _ in range(3)]
        self.tensor = np.full((1, 3, input_size_px[1], input_size_px[0]), PAD_GREY * _UNIT, np.float32)
        self._inside = self.tensor[0, :, top : top + height, left : left + width]

    def apply(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Place an image (h, w, 3), RGB, uint8, and return the tensor (1, 3, H, W); the next call overwrites it."""
        if image.shape != (self.source_size_px[1], self.source_size_px[0], 3):
            raise ValueError(f"the image has shape {image.shape}, the letterbox is for {self.source_size_px}")
        if self._inner_px != self.source_size_px:
            cv2.resize(image, self._inner_px, dst=self._resized, interpolation=self._method)
            image = self._resized
        cv2.split(image, self._planes)
        for channel, plane in enumerate(self._planes):
            inside = self._inside[channel]
            np.copyto(inside, plane)
            np.multiply(inside, _UNIT, out=inside)
        return self.tensor

    def to_source(self, boxes: FloatArray) -> NDArray[np.float32]:
        """Take boxes (n, 4) from input pixels to source pixels, clipped to the source image."""
        return self.plan.to_source(boxes)
