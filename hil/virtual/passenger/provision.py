"""Set a seat up: the key is made in the guest, only its request leaves it; then configuration and model."""

from __future__ import annotations

import shlex
import tempfile
from collections.abc import Callable
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
    guest.write_file(f"{PKI}/ca.crt", ca.ca_file.read_bytes())
    guest.write_file(f"{PKI}/node.crt", ca.sign(_make_key(guest, passenger.name), passenger.name))
    guest.write_file(f"{FOLDER}/camera.json", _calibration())
    guest.write_file(f"{FOLDER}/bright_patches.onnx", MODEL.read_bytes())
    if passenger.camera == "optics":
        guest.write_file(OPTICS_FILE, b"[]")
    guest.write_file(CONFIG, node_toml(passenger).encode())


def _make_key(guest: Guest, name: str) -> bytes:
    """A P-256 key, 0400 of the agent's user, made in the guest; its certificate request comes back."""
    key = shlex.quote(f"{PKI}/node.key")
    request = guest.run(
        f"umask 077; rm -f {key}; openssl ecparam -name prime256v1 -genkey -noout | openssl pkcs8 -topk8 -nocrypt "
        f"-out {key} && chown touchline:touchline {key} && chmod 0400 {key} "
        f"&& openssl req -new -key {key} -subj /CN={shlex.quote(name)}"
    )
    return request.out.encode()


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
