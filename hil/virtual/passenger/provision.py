"""Set a seat up: the key is made in the guest, only its request leaves it; then configuration and model."""

from __future__ import annotations

import base64
import gzip
import io
import shlex
import tarfile
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from hil.rack.pki import LocalCa
from hil.venue.optics import site_camera
from hil.virtual.passenger.seat import CAMERA_PX, CONFIG, FOLDER, OPTICS_FILE, PKI, UNIT, Passenger, node_toml
from hil.virtual.passenger.tiny_engine import MODEL
from hil.virtual.ports import Guest
from touchline.errors import HardwareError
from touchline.timeline import monotonic_ns, sleep_until

_POLL_NS: Final = 200_000_000


def provision(guest: Guest, ca: LocalCa, passenger: Passenger) -> None:
    """Give the seat its identity and its configuration; the agent is not started yet."""
    files = {
        f"{PKI}/ca.crt": ca.ca_file.read_bytes(),
        f"{PKI}/node.crt": ca.sign(_make_key(guest, passenger.name), passenger.name),
        f"{FOLDER}/camera.json": _calibration(),
        f"{FOLDER}/bright_patches.onnx": MODEL.read_bytes(),
        CONFIG: node_toml(passenger).encode(),
    }
    if passenger.camera == "optics":
        files[OPTICS_FILE] = b"[]"
    _lay(guest, files)


def _make_key(guest: Guest, name: str) -> bytes:
    """A P-256 key, 0400 of the agent's user, made in the guest; its certificate request comes back."""
    key = shlex.quote(f"{PKI}/node.key")
    request = guest.run(
        f"mkdir -p {PKI} && umask 077 && rm -f {key} && openssl req -new -newkey ec -pkeyopt "
        f"ec_paramgen_curve:prime256v1 -nodes -keyout {key} -subj /CN={shlex.quote(name)} "
        f"&& chown touchline:touchline {key} && chmod 0400 {key}"
    )
    return request.out.encode()


def _lay(guest: Guest, files: Mapping[str, bytes]) -> None:
    """Write small files of root, 0644, by one command: each program that starts in an emulated guest takes its time."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for path, data in files.items():
            member = tarfile.TarInfo(path.lstrip("/"))
            member.size, member.mode = len(data), 0o644
            archive.addfile(member, io.BytesIO(data))
    text = base64.b64encode(gzip.compress(packed.getvalue(), mtime=0)).decode()
    guest.run(f"echo {text} | base64 -d | tar -xz --touch -C /")


def _calibration() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "camera.json"
        site_camera("left", CAMERA_PX).save(path)
        return path.read_bytes()


def start_agent(guest: Guest) -> None:
    """Ask systemd for the agent and do not wait: :func:`await_agent` does."""
    guest.run(f"systemctl start --no-block touchline.target {UNIT}")


def await_agent(guest: Guest, timeout_s: float, alive: Callable[[], None] = lambda: None) -> None:
    """Return once the agent is ready; ``alive`` raises when waiting has become pointless.

    Raises:
        HardwareError: the unit failed or was skipped, or is not ready within ``timeout_s``.
    """
    deadline_ns = monotonic_ns() + int(timeout_s * 1e9)
    while (state := agent_state(guest)) != "active":
        alive()
        if state == "failed" or monotonic_ns() > deadline_ns:
            last = guest.run(f"journalctl -u {UNIT} -n 15 --no-pager -o cat", check=False).out.strip()
            raise HardwareError(f"the agent is '{state}' after {timeout_s:g} s at most; it said last:\n{last}")
        sleep_until(monotonic_ns() + _POLL_NS)


def agent_state(guest: Guest) -> str:
    """systemd's word for the agent's unit: active, activating, failed, inactive."""
    return guest.run(f"systemctl is-active {UNIT}", check=False).out.strip()
