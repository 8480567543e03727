"""Shared fixtures: where real match data lives, when it is here."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# How long an example takes says how busy the machine is: unit tests share its cores.
settings.register_profile("shared-cores", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared-cores")

pytest_plugins = ["pytester"]

REPO = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def repo() -> Path:
    """The root of the checkout."""
    return REPO


@pytest.fixture(scope="session")
def stadium() -> Path:
    """Folder with real match video and annotations; tests that need it skip where it is absent."""
    folder = Path(os.environ.get("TOUCHLINE_DATA", REPO.parent / "shared" / "data")) / "stadium"
    if not (folder / "left_camera.mp4").exists():
        pytest.skip(f"real match data is not beside the project ({folder}); set TOUCHLINE_DATA to its folder")
    return folder
