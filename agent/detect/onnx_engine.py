"""The engine that runs everywhere: ONNX Runtime, one session, one preallocated output."""

from __future__ import annotations

import ast
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from agent.detect.engine import MAX_MODEL_BYTES, EngineInfo, checked_input, checked_output
from touchline.errors import ConfigError, InputError, ResourceError
from touchline.ort import onnxruntime as ort
from touchline.ort import ort_state
from touchline.timeline import monotonic_ns

CPU_PROVIDER: Final = "CPUExecutionProvider"
_TYPES: Final[Mapping[str, str]] = {"tensor(float)": "float32", "tensor(float16)": "float16"}
_LOAD_FAILURES: Final = (
    ort_state.Fail,
    ort_state.InvalidArgument,
    ort_state.InvalidGraph,
    ort_state.InvalidProtobuf,
    ort_state.NoModel,
    ort_state.NotImplemented,
    ort_state.RuntimeException,
    RuntimeError,
)


class OnnxEngine:
    """A YOLOv8-layout ONNX model in ONNX Runtime.

    Args:
        path: the model file.
        threads: threads within one operator; 0 = as many as this process may use.
        provider: execution provider; the session must really use it, there is no silent fallback.
        spin: let idle threads spin between operators: a little faster alone, far slower beside other busy processes.
        allow_large: accept a file of more than 117 MB (INF-5).
    """

    def __init__(
        self,
        path: Path,
        *,
        threads: int = 0,
        provider: str = CPU_PROVIDER,
        spin: bool = False,
        allow_large: bool = False,
    ) -> None:
        self._path = path
        self._threads = threads or len(os.sched_getaffinity(0))
        self._provider = provider
        self._spin = spin
        self._allow_large = allow_large
        self._info: EngineInfo | None = None
        self._bound: NDArray[np.float32] | None = None  # keeps the bound input alive
        self._bound_address = 0

    def load(self) -> EngineInfo:
        """Open the model, check it, run it once on grey; see :class:`agent.detect.engine.Engine`."""
        started_ns = monotonic_ns()
        model_bytes = self._checked_size()
        session = self._session = self._open()
        inputs, outputs = session.get_inputs(), session.get_outputs()
        name, names = str(self._path), class_names(session.get_modelmeta().custom_metadata_map)
        width, height = checked_input(name, [i.shape for i in inputs], [_type(i) for i in inputs])
        self._shape = (1, 3, height, width)
        self._names = (inputs[0].name, outputs[0].name)
        trial = self._trial()
        shape = checked_output(
            name, [r.shape for r in trial], [str(r.dtype) for r in trial], len(names) if names else None
        )
        self._bind(shape)
        self._info = EngineInfo(
            name=f"onnxruntime {ort.__version__}",
            provider=self._provider,
            input_size_px=(width, height),
            output_shape=shape,
            classes=names or tuple(f"class{number}" for number in range(shape[1] - 4)),
            load_ms=(monotonic_ns() - started_ns) / 1e6,
            model_bytes=model_bytes,
        )
        return self._info

    def infer(self, tensor: NDArray[np.float32]) -> NDArray[np.float32]:
        """Run once; see :class:`agent.detect.engine.Engine`."""
        if tensor.shape != self._shape or tensor.dtype != np.float32 or not tensor.flags.c_contiguous:
            raise ValueError(f"the tensor is {tensor.dtype} {tensor.shape}, the engine takes float32 {self._shape}")
        address = tensor.ctypes.data
        if address != self._bound_address:
            self._binding.bind_input(self._names[0], "cpu", 0, np.float32, self._shape, address)
            self._bound, self._bound_address = tensor, address
        self._session.run_with_iobinding(self._binding)
        return self._output

    def info(self) -> EngineInfo:
        """Return what ``load`` found."""
        if self._info is None:
            raise RuntimeError("the engine is not loaded")
        return self._info

    def _checked_size(self) -> int:
        try:
            size = self._path.stat().st_size
        except OSError as error:
            raise InputError(
                f"{self._path}: cannot read the model: {error.strerror}", hint="give the path of an ONNX file"
            ) from error
        sidecars = (self._path.with_name(self._path.name + end) for end in (".data", "_data"))
        size += sum(extra.stat().st_size for extra in sidecars if extra.is_file())
        if size > MAX_MODEL_BYTES and not self._allow_large:
            raise ConfigError(
                f"{self._path} has {size / 1e6:.0f} MB; models above {MAX_MODEL_BYTES / 1e6:.0f} MB reload too slowly",
                hint="use a smaller model, or allow it with --allow-large",
            )
        return size

    def _open(self) -> ort.InferenceSession:
        if self._provider not in ort.get_available_providers():
            have = ", ".join(ort.get_available_providers())
            raise ConfigError(f"ONNX Runtime here has no {self._provider}", hint=f"use one of: {have}")
        options = ort.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 4  # failures come as exceptions, once
        options.add_session_config_entry("session.intra_op.allow_spinning", "1" if self._spin else "0")
        try:
            session = ort.InferenceSession(str(self._path), options, providers=[self._provider])
        except _LOAD_FAILURES as error:
            first = str(error).strip().splitlines()[0]
            raise InputError(
                f"{self._path} is not an ONNX model that can run here: {first}",
                hint="copy or export the model again",
            ) from error
        if session.get_providers()[0] != self._provider:
            raise ResourceError(f"{self._provider} did not start; ONNX Runtime offered {session.get_providers()[0]}")
        return session

    def _trial(self) -> list[NDArray[Any]]:
        """One run on grey: the first is slow, and it tells the real output shapes."""
        grey = np.full(self._shape, 0.5, np.float32)
        try:
            return [np.asarray(result) for result in self._session.run(None, {self._names[0]: grey})]
        except _LOAD_FAILURES as error:
            first = str(error).strip().splitlines()[0]
            raise InputError(f"{self._path} cannot run: {first}", hint="export the model again") from error

    def _bind(self, shape: tuple[int, int, int]) -> None:
        self._output = np.zeros(shape, np.float32)
        self._binding = self._session.io_binding()
        self._binding.bind_output(self._names[1], "cpu", 0, np.float32, shape, self._output.ctypes.data)
        self._bound, self._bound_address = None, 0


def _type(argument: Any) -> str:
    return _TYPES.get(argument.type, argument.type)


def class_names(metadata: Mapping[str, str]) -> tuple[str, ...]:
    """Read the names that exporters leave in the file: ``{0: 'person', 1: 'ball'}`` or a list; () if none or odd."""
    try:
        value = ast.literal_eval(metadata.get("names", ""))
    except (ValueError, SyntaxError):
        return ()
    if isinstance(value, dict):
        value = [value[key] for key in sorted(value)]
    return tuple(str(name) for name in value) if isinstance(value, (list, tuple)) else ()
