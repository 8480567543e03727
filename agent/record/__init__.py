"""The recorder: frames from the ring through ffmpeg into fragmented MP4 whose every frame knows its PTP time."""
