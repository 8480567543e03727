"""ONNX Runtime with its usage reports off. Whoever needs it imports it from here, and only here is it imported.

Recent builds collect usage data by default: a device id and an event database in the user's cache folder, meant for
upload. A node beside a pitch sends nothing that was not asked for.
"""

from __future__ import annotations

import os

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # read while the library loads

import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as ort_state

__all__ = ["onnxruntime", "ort_state"]
