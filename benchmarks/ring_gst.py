"""The GStreamer peer of the ring benchmark: appsrc ! shmsink and shmsrc ! appsink, driven through the C library.

Driven with ctypes because the time at which a frame is pushed and the time at which a reader has it must be taken in
our own code, and the GObject bindings are not always installed. The frame is wrapped, not copied, so that the only copy
is the one shmsink makes into its shared memory: that is the least the peer can do.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from touchline.errors import ResourceError
from touchline.timeline import monotonic_ns

_PLAYING: Final = 4
_NULL: Final = 1
_MAP_READ: Final = 1
_MEMORY_READONLY: Final = 1 << 1
_SECOND_NS: Final = 1_000_000_000
LANDINGS: Final = 4  # one in appsrc's queue, one being copied, one being landed, one spare


class _MapInfo(ctypes.Structure):
    _fields_ = (
        ("memory", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("data", ctypes.c_void_p),
        ("size", ctypes.c_size_t),
        ("maxsize", ctypes.c_size_t),
        ("user_data", ctypes.c_void_p * 4),
        ("reserved", ctypes.c_void_p * 4),
    )


class Gst:
    """The dozen functions used, with their types.

    Raises:
        ResourceError: GStreamer is not installed.
    """

    def __init__(self) -> None:
        try:
            self._core = ctypes.CDLL("libgstreamer-1.0.so.0")
            self._app = ctypes.CDLL("libgstapp-1.0.so.0")
        except OSError as error:
            raise ResourceError(
                "GStreamer is not installed", hint="apt install gstreamer1.0-tools gstreamer1.0-plugins-bad"
            ) from error
        pointer, size = ctypes.c_void_p, ctypes.c_size_t
        self._type(self._core, "gst_init", None, pointer, pointer)
        self._type(self._core, "gst_parse_launch", pointer, ctypes.c_char_p, pointer)
        self._type(self._core, "gst_element_set_state", ctypes.c_int, pointer, ctypes.c_int)
        self._type(self._core, "gst_bin_get_by_name", pointer, pointer, ctypes.c_char_p)
        self._type(
            self._core,
            "gst_buffer_new_wrapped_full",
            pointer,
            ctypes.c_int,
            pointer,
            size,
            size,
            size,
            pointer,
            pointer,
        )
        self._type(self._core, "gst_sample_get_buffer", pointer, pointer)
        self._type(self._core, "gst_buffer_map", ctypes.c_int, pointer, pointer, ctypes.c_int)
        self._type(self._core, "gst_buffer_unmap", None, pointer, pointer)
        self._type(self._core, "gst_mini_object_unref", None, pointer)
        self._type(self._app, "gst_app_src_push_buffer", ctypes.c_int, pointer, pointer)
        self._type(self._app, "gst_app_sink_try_pull_sample", pointer, pointer, ctypes.c_uint64)
        self._core.gst_init(None, None)

    @staticmethod
    def _type(library: Any, name: str, result: Any, *arguments: Any) -> None:
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments

    def start(self, launch: str, element: str) -> tuple[int, int]:
        """Start a pipeline; return it and its element of that name.

        Raises:
            ResourceError: an element is missing.
        """
        pipeline = self._core.gst_parse_launch(launch.encode(), None)
        found = self._core.gst_bin_get_by_name(pipeline, element.encode()) if pipeline else None
        if not found:
            raise ResourceError(f"GStreamer cannot build {launch!r}", hint="apt install gstreamer1.0-plugins-bad")
        self._core.gst_element_set_state(pipeline, _PLAYING)
        return int(pipeline), int(found)

    def stop(self, pipeline: int) -> None:
        """Stop a pipeline."""
        self._core.gst_element_set_state(pipeline, _NULL)

    def push(self, source: int, address: int, size: int) -> None:
        """Push ``size`` bytes at ``address`` as one buffer; blocks while the pipeline is full."""
        buffer = self._core.gst_buffer_new_wrapped_full(_MEMORY_READONLY, address, size, 0, size, None, None)
        self._app.gst_app_src_push_buffer(source, buffer)

    def pull(self, sink: int, timeout_s: float) -> tuple[int, int, int] | None:
        """Return (monotonic ns when the buffer was mapped, its first 8 bytes, its size); None after the time-out."""
        sample = self._app.gst_app_sink_try_pull_sample(sink, int(timeout_s * _SECOND_NS))
        if not sample:
            return None
        buffer, info = self._core.gst_sample_get_buffer(sample), _MapInfo()
        self._core.gst_buffer_map(buffer, ctypes.byref(info), _MAP_READ)
        now_ns = monotonic_ns()
        head = struct.unpack("@Q", ctypes.string_at(info.data, 8))[0]
        size = int(info.size)
        self._core.gst_buffer_unmap(buffer, ctypes.byref(info))
        self._core.gst_mini_object_unref(sample)
        return now_ns, head, size


class GstSender:
    """appsrc ! shmsink on a socket path; the first 8 bytes of each frame say when it was pushed.

    Frames lie in ``LANDINGS`` buffers, used in turn, so that one in flight is not overwritten.
    """

    def __init__(self, socket: Path, frame_bytes: int, slots: int) -> None:
        self._gst = Gst()
        self._frames = [ctypes.create_string_buffer(frame_bytes) for _ in range(LANDINGS)]
        self._views = [memoryview(frame).cast("B") for frame in self._frames]
        self._sent = 0
        self._bytes = frame_bytes
        shm_bytes = frame_bytes * slots
        self._pipeline, self._source = self._gst.start(
            f"appsrc name=src block=true max-bytes={frame_bytes} ! "
            f"shmsink socket-path={socket} shm-size={shm_bytes} wait-for-connection=true sync=false async=false",
            "src",
        )

    def send(self, source: memoryview | None) -> None:
        """Land ``source`` in the next buffer, or take that as landed already; push it with the present time."""
        number = self._sent % LANDINGS
        self._sent += 1
        if source is not None:
            self._views[number][:] = source
        struct.pack_into("@Q", self._frames[number], 0, monotonic_ns())
        self._gst.push(self._source, ctypes.addressof(self._frames[number]), self._bytes)

    def close(self) -> None:
        """Stop the pipeline."""
        self._gst.stop(self._pipeline)


def receive(socket: Path, timeout_s: float) -> Iterator[tuple[int, int]]:
    """Yield (received, pushed) monotonic ns of each frame until none comes for ``timeout_s``."""
    gst = Gst()
    pipeline, sink = gst.start(
        f"shmsrc socket-path={socket} is-live=true ! appsink name=sink sync=false max-buffers=8 drop=false", "sink"
    )
    while (got := gst.pull(sink, timeout_s)) is not None:
        yield got[0], got[1]
    gst.stop(pipeline)
