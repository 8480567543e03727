"""What ``touchline detect`` can look at: one video, or pictures; both as numbered RGB frames."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from agent.camera.ffmpeg import FfmpegReader, probe
from touchline.errors import InputError

PICTURE_SUFFIXES: Final = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff"})
_MAX_PICTURE_BYTES: Final = 500_000_000


@dataclass(frozen=True, slots=True)
class FrameRange:
    """Frames ``first`` to ``last``, both included, numbered from 0; ``last`` None = to the end."""

    first: int = 0
    last: int | None = None


class Source(Protocol):
    """Numbered frames of one or several pictures."""

    @property
    def count(self) -> int | None:
        """Return how many frames will come, as far as the file says."""
        ...

    @property
    def rate_hz(self) -> float | None:
        """Return the frame rate; None for pictures."""
        ...

    def frames(self) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """Yield (number, image (h, w, 3) RGB); the next frame may overwrite the image."""
        ...

    def warnings(self) -> tuple[str, ...]:
        """Return what the decoder complained of."""
        ...


class VideoSource:
    """A range of frames of a video file."""

    def __init__(self, path: Path, wanted: FrameRange) -> None:
        info = probe(path)
        if wanted.last is not None and info.frames is not None and wanted.last >= info.frames:
            raise InputError(
                f"{path} has {info.frames} frames; frame {wanted.last} was asked",
                hint=f"its frames are 0..{info.frames - 1}",
            )
        self._reader = FfmpegReader(path, first_frame=wanted.first, info=info)
        self._wanted = wanted

    @property
    def count(self) -> int | None:
        """Return the number of frames in the range."""
        last = self._wanted.last
        if last is None:
            total = self._reader.info.likely_frames
            return None if total is None else total - self._wanted.first
        return last - self._wanted.first + 1

    @property
    def rate_hz(self) -> float | None:
        """Return the video's rate."""
        return self._reader.info.rate_hz

    def frames(self) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """Decode the range; InputError names the frame at which a damaged file ends."""
        width, height = self._reader.size_px
        image = np.empty((height, width, 3), np.uint8)
        number, last = self._wanted.first, self._wanted.last
        with self._reader as reader:
            while (last is None or number <= last) and reader.readinto(image.data):
                yield number, image
                number += 1
        if last is not None and number <= last:
            raise InputError(f"{reader.path} ends at frame {number - 1}; frame {last} was asked")

    def warnings(self) -> tuple[str, ...]:
        """Return ffmpeg's complaints."""
        return self._reader.messages()


class PictureSource:
    """Pictures, numbered 0, 1, ... in the order given."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = list(paths)

    @property
    def count(self) -> int | None:
        """Return the number of pictures."""
        return len(self._paths)

    @property
    def rate_hz(self) -> float | None:
        """Pictures have no rate."""
        return None

    def frames(self) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """Read the pictures one by one."""
        for number, path in enumerate(self._paths):
            yield number, read_picture(path)

    def warnings(self) -> tuple[str, ...]:
        """Pictures decode or raise."""
        return ()


def read_picture(path: Path) -> NDArray[np.uint8]:
    """Return an image file as (h, w, 3) RGB uint8, or raise InputError."""
    try:
        if path.stat().st_size > _MAX_PICTURE_BYTES:
            raise InputError(f"{path} is larger than any picture", hint="give a picture of less than 500 MB")
        data = np.frombuffer(path.read_bytes(), np.uint8)
    except OSError as error:
        raise InputError(f"{path}: cannot read the picture: {error.strerror}") from error
    try:
        image = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    except cv2.error:  # OpenCV refuses absurd sizes by raising
        image = None
    if image is None:
        raise InputError(f"{path} is not a picture that can be read", hint="give a whole PNG or JPEG file")
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)


def is_picture(path: Path) -> bool:
    """Tell pictures from videos by the file's name."""
    return path.suffix.lower() in PICTURE_SUFFIXES
