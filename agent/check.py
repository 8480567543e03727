"""``touchline agent check``: everything that can be known before the first frame, each finding with its fix."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final

from cryptography import x509
from paho.mqtt.enums import MQTTErrorCode
from paho.mqtt.reasoncodes import ReasonCode

from agent.camera.registry import open_camera
from agent.check_disk import free_in
from agent.check_pair import address_text, pair_text, paths_text, witness_text
from agent.check_record import encoder_text, folder_text, mirror_text, program_text, reach_text, spare_text
from agent.clock.linuxptp.profile import settings_of as ptp_settings_of
from agent.clock.management import ManagementClient, PortDataSet, TimeStatusNp
from agent.clock.management.values import number_text
from agent.clock.open import open_clock
from agent.clock.service import open_source
from agent.detect.build import DEFAULT_MODEL
from agent.detect.onnx_engine import OnnxEngine
from agent.rings import make_ring
from agent.uart.check import port_text
from agent.view import view_of
from calibration.camera_model import CameraCalibration
from touchline.config import CameraSection, NodeConfig
from touchline.config.failover import FailoverSection
from touchline.config.record import RecordSection
from touchline.errors import LinkError, ResourceError, TouchlineError
from touchline.mqtt import make_client, settings_of
from touchline.mqtt_errors import CertificateExpired, LinkLost
from touchline.timeline import monotonic_ns, utc_s
from touchline.units import format_bytes, format_duration

_ANSWER_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Finding:
    """One checked thing. ``exit_code`` is 0 when it is good."""

    what: str
    detail: str
    fix: str = ""
    exit_code: int = 0

    @property
    def good(self) -> bool:
        """Whether nothing is wrong with it."""
        return self.exit_code == 0


def check_node(config: NodeConfig, *, connect: bool = False) -> Iterator[Finding]:
    """Yield a finding for each part of a node's configuration; opens what it names, changes nothing.

    ``connect``: also ask the broker, and the twin's recorders, whether they let this node in.
    """
    yield _judge("clock", partial(_clock, config))
    for camera in config.camera:
        yield _judge(f"camera {camera.number}: source", partial(_source, config, camera))
        yield _judge(f"camera {camera.number}: calibration", partial(_calibration, camera))
        yield _judge(f"camera {camera.number}: ring", partial(_ring, config, camera))
    yield _judge("detector", partial(_model, config))
    if config.clock.source == "ptp":
        yield _judge("clock pairs", partial(_pairs, config))
    yield _judge("spool", partial(_writable, config.publish.spool_dir, config.publish.spool_max_bytes))
    yield _judge("mqtt", partial(_certificates, config))
    if config.failover is not None:
        yield from _pair(config, config.failover)
    if config.record is not None:
        yield from _recording(config, config.record, connect)
    if config.uart is not None:
        yield _judge("serial line", partial(port_text, config.uart, config.camera))
    if connect:
        yield _judge("broker", partial(_broker, config))


def _pair(config: NodeConfig, section: FailoverSection) -> Iterator[Finding]:
    yield _judge("failover", partial(pair_text, config, section))
    yield _judge("failover paths", partial(paths_text, section))
    yield _judge("failover witness", partial(witness_text, section))
    if section.address:
        yield _judge("failover address", partial(address_text, section))


def _recording(config: NodeConfig, section: RecordSection, connect: bool) -> Iterator[Finding]:
    yield _judge("record program", partial(program_text, section))
    yield _judge("record spare", partial(spare_text, section))
    for camera in config.camera:
        yield _judge(f"camera {camera.number}: encoder", partial(encoder_text, section, camera))
    yield _judge("record folder", partial(folder_text, config, section))
    if section.mirror_peer:
        yield _judge("record mirror", partial(mirror_text, config, section))
    for index, camera in enumerate(config.camera if section.mirror_peer and connect else ()):
        yield _judge(f"camera {camera.number}: mirror", partial(reach_text, config, section, index))


def _judge(what: str, check: Callable[[], str]) -> Finding:
    try:
        return Finding(what, check())
    except TouchlineError as error:
        return Finding(what, error.message, error.hint, error.exit_code)
    except OSError as error:  # what may not even be looked at is a finding, and no end of the others
        return Finding(what, f"{error.filename}: {error.strerror}", "ask as the agent's user", ResourceError.exit_code)


def _clock(config: NodeConfig) -> str:
    clock = config.clock
    kept = "published with a flag" if clock.on_unlocked == "flag" else "not published"
    what = f"limit {format_duration(clock.bound_limit_ns)}, unlocked stamps are {kept}"
    if clock.source == "system":
        return f"system, {what}; it never locks"
    try:
        answer = _ptp4l(config)
    except LinkError as error:
        hint = "systemctl status touchline-ptp4l; another socket: [clock.ptp] uds_path"
        raise LinkError(error.message, hint=hint) from error
    doubt = clock.ptp.asymmetry_uncertainty_ns
    doubt_text = (
        f"doubt of the asymmetry {format_duration(round(doubt))}" if doubt else "asymmetry taken as exactly known"
    )
    return f"ptp on {clock.ptp.interface}, {what}; {doubt_text}; ptp4l at {clock.ptp.uds_path} answers: {answer}"


def _pairs(config: NodeConfig) -> str:
    """Open what cross-timestamps come from: PHC, its rights, nvpps."""
    source = open_source(config)
    try:
        return source.describe()
    finally:
        source.close()


def _ptp4l(config: NodeConfig) -> str:
    """What ptp4l says of itself; raises LinkError when nobody answers at its socket."""
    ptp, folder = config.clock.ptp, config.node.run_dir
    with ManagementClient(
        Path(ptp.uds_path),
        domain=ptp_settings_of(ptp).domain,
        transport_specific="auto",
        folder=folder if os.access(folder, os.W_OK | os.X_OK) else None,
    ) as client:
        port, status = client.get(PortDataSet), client.get(TimeStatusNp)
    master = f"grandmaster {status.gm_identity}" if status.gm_present else "no grandmaster"
    return f"port {number_text(port.port_state)}, {master}"


def _source(config: NodeConfig, section: CameraSection) -> str:
    camera = open_camera(section, open_clock(config))
    try:
        camera.open()
        info = camera.info()
    finally:
        camera.close()
    return f"{info.source}, {info.width_px}x{info.height_px} {info.pixel_format.value}, {info.rate_hz:g} frames/s"


def _calibration(section: CameraSection) -> str:
    calibration = CameraCalibration.load(section.calibration)
    width, height = calibration.image_size_px
    view_of(calibration, section)
    quality = calibration.quality
    rms = "unknown" if quality is None else f"{quality.rms_m:.2f} m over {quality.used} landmarks"
    return f"{width}x{height}, pitch {calibration.pitch_m[0]:g}x{calibration.pitch_m[1]:g} m, RMS {rms}"


def _ring(config: NodeConfig, section: CameraSection) -> str:
    ring = make_ring(config.ring, section, recorded=config.record is not None)
    try:
        return ring.describe(section.rate_hz)
    finally:
        ring.close()


def _model(config: NodeConfig) -> str:
    path = config.detect.model or DEFAULT_MODEL
    info = OnnxEngine(path, threads=config.detect.threads, allow_large=config.detect.allow_large_model).load()
    width, height = info.input_size_px
    size = format_bytes(info.model_bytes)
    return f"{path.name}, {width}x{height}, {len(info.classes)} classes, {size}, loaded in {info.load_ms:.0f} ms"


def _writable(folder: Path, needed: int) -> str:
    free = free_in(folder)
    if free < needed:
        raise ResourceError(
            f"{folder} has {format_bytes(free)} free, publish.spool_max is {format_bytes(needed)}",
            hint="free space or lower publish.spool_max",
        )
    return f"{folder}, {format_bytes(needed)} of {format_bytes(free)} free"


def _certificates(config: NodeConfig) -> str:
    make_client(settings_of(config.mqtt, config.node.name))  # raises ConfigError for files that are missing or no pair
    mqtt = config.mqtt
    certificate = x509.load_pem_x509_certificate(mqtt.cert_file.read_bytes())
    until = certificate.not_valid_after_utc
    if until.timestamp() < utc_s():
        raise CertificateExpired(f"{mqtt.cert_file} has expired on {until:%Y-%m-%d}", hint="renew the certificate")
    return f"{mqtt.host}:{mqtt.port}, MQTT {mqtt.protocol}, certificate {mqtt.cert_file.name} until {until:%Y-%m-%d}"


def _broker(config: NodeConfig) -> str:
    """Connect as the agent would, with a client id of its own so that a running agent keeps its session."""
    settings = replace(settings_of(config.mqtt, config.node.name), client_id=f"{config.node.name}-check")
    client = make_client(settings)
    answers: list[ReasonCode] = []
    client.on_connect = lambda _client, _data, _flags, reason, _properties: answers.append(reason)
    client.dial()
    deadline_ns = monotonic_ns() + int(_ANSWER_S * 1e9)
    while not answers and monotonic_ns() < deadline_ns:
        if client.loop(0.1) != MQTTErrorCode.MQTT_ERR_SUCCESS:
            raise client.lost(greeted=False)
    if not answers:
        raise LinkLost(f"broker {settings.address} did not answer CONNECT within {_ANSWER_S:g} s", hint="see its log")
    if answers[0].is_failure:
        raise client.refused(answers[0])
    client.disconnect()
    return f"{settings.address} accepts {config.node.name}"
