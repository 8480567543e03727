"""What ``touchline detect`` writes: boxes as CSV, an overlay to look at. A file appears whole or not at all."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from agent.camera.ffmpeg import PACKAGE
from agent.detect.types import Detections
from touchline.errors import ResourceError
from touchline.run import need

CSV_HEADER: Final = "frame,x1,y1,x2,y2,score,class"
_COLOURS: Final = ((255, 214, 10), (64, 200, 255), (255, 105, 97), (120, 220, 120), (200, 140, 255))  # RGB


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path beside ``path``; on success it is synced and becomes ``path``, else it vanishes.

    Every OSError within, a full disk above all, becomes a ResourceError that names ``path``.
    """
    draft: Path | None = None
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=path.suffix)
        draft = Path(name)
        os.fchmod(handle, 0o644)
        os.close(handle)
        yield draft
        with draft.open("rb") as written:
            os.fsync(written.fileno())
        draft.replace(path)
        draft = None
    except OSError as error:
        raise ResourceError(
            f"cannot write {path}: {error.strerror or error}", hint="check the folder, its rights and its space"
        ) from error
    finally:
        if draft is not None:
            with suppress(OSError):
                draft.unlink()


class BoxTable:
    """The CSV: one line per person, source pixels."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        stream.write(CSV_HEADER + "\n")

    def add(self, frame: int, found: Detections) -> None:
        """Write one frame's people."""
        rows = zip(found.boxes.tolist(), found.scores.tolist(), found.classes.tolist(), strict=True)
        self._stream.writelines(
            f"{frame},{x1:.1f},{y1:.1f},{x2:.1f},{y2:.1f},{score:.3f},{number}\n"
            for (x1, y1, x2, y2), score, number in rows
        )


def draw(image: NDArray[np.uint8], found: Detections, names: Sequence[str] = ()) -> NDArray[np.uint8]:
    """Return a copy of an RGB image with the boxes, their scores and, with several classes, their names."""
    picture = image.copy()
    line = max(1, round(image.shape[0] / 500))
    for box, score, number in zip(found.boxes, found.scores, found.classes, strict=True):
        x1, y1, x2, y2 = (round(float(value)) for value in box)
        colour = _COLOURS[int(number) % len(_COLOURS)]
        cv2.rectangle(picture, (x1, y1), (x2, y2), colour, line)
        name = f"{names[number]} " if len(names) > 1 else ""
        place = (x1, y1 - 2 * line if y1 > 16 * line else y2 + 11 * line)
        cv2.putText(picture, f"{name}{score:.2f}", place, cv2.FONT_HERSHEY_SIMPLEX, 0.32 * line, colour, 1, cv2.LINE_AA)
    return picture


def write_picture(path: Path, image: NDArray[np.uint8]) -> None:
    """Write an RGB image in the format of the name's ending."""
    with replacing(path) as draft:
        if not cv2.imwrite(str(draft), cv2.cvtColor(image, cv2.COLOR_RGB2BGR)):
            raise OSError(0, "the picture could not be encoded")


class OverlayVideo:
    """RGB frames into an H.264 file through a child ffmpeg; odd edges are cut to even ones."""

    def __init__(self, path: Path, size_px: tuple[int, int], rate_hz: float) -> None:
        self.path = path
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  (closed in __exit__)
        self._child = subprocess.Popen(
            encoder_command(path, size_px, rate_hz),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=self._errors,
            start_new_session=True,
        )

    def add(self, image: NDArray[np.uint8]) -> None:
        """Encode one frame."""
        assert self._child.stdin is not None
        try:
            self._child.stdin.write(np.ascontiguousarray(image).data)
        except BrokenPipeError:
            self._child.wait()
            raise self._failure() from None

    def finish(self) -> None:
        """End the file; ResourceError when ffmpeg could not write it."""
        assert self._child.stdin is not None
        with suppress(BrokenPipeError):
            self._child.stdin.close()
        if self._child.wait() != 0:
            raise self._failure()

    def _failure(self) -> ResourceError:
        self._errors.seek(0)
        lines = self._errors.read(4000).decode(errors="replace").strip().splitlines()
        why = lines[-1] if lines else f"ffmpeg ended with status {self._child.returncode}"
        return ResourceError(f"the overlay could not be encoded: {why}")

    def __enter__(self) -> OverlayVideo:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self.finish()
        finally:
            if self._child.poll() is None:
                self._child.kill()
            self._child.wait()
            if self._child.stdin is not None:
                with suppress(BrokenPipeError):
                    self._child.stdin.close()
            self._errors.close()


def encoder_command(path: Path, size_px: tuple[int, int], rate_hz: float) -> list[str]:
    """Return the ffmpeg command that encodes raw RGB frames from its standard input."""
    width, height = size_px
    even = f"crop={width // 2 * 2}:{height // 2 * 2}:0:0"
    colours = "scale=in_range=pc:out_color_matrix=bt709:out_range=tv,format=yuv420p"
    quiet = "-nostdin -hide_banner -loglevel error -y"
    raw = f"-f rawvideo -pix_fmt rgb24 -s {width}x{height} -r {rate_hz:g} -i pipe:0"
    coded = f"-vf {even},{colours} -c:v libx264 -preset veryfast -crf 22"
    marked = "-colorspace bt709 -color_primaries bt709 -color_trc bt709 -color_range tv -movflags +faststart -f mp4"
    return [need("ffmpeg", PACKAGE), *quiet.split(), *raw.split(), *coded.split(), *marked.split(), f"file:{path}"]
