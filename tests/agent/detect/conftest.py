"""Fixtures of the detector's tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.agent.detect.stand_in import red_square_model, square_frame, write_video


@pytest.fixture(scope="session")
def square_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A 640x384 model that finds red squares."""
    return red_square_model(tmp_path_factory.mktemp("model") / "square.onnx")


@pytest.fixture(scope="session")
def square_video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty frames of 640x360 in which a red square moves one cell a frame."""
    path = tmp_path_factory.mktemp("video") / "square.mp4"
    return write_video(path, [square_frame(number) for number in range(20)])
