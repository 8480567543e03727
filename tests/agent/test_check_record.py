"""``touchline agent check`` and ``[record]``: program, spare, encoder, disk, mirror; each mistake with its fix."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from agent import check_record
from agent.check import Finding, check_node
from agent.check_record import encoder_text, folder_text, mirror_text, program_text, reach_text, spare_text
from agent.record import spare as spare_module
from agent.record.files import Bounds, Shelf
from agent.record.mirror.receiver import MirrorReceiver
from agent.record.mirror.tls import Identity
from agent.record.spare import digest_file, sha256_of
from hil.rack.pki import LocalCa
from tests.ports import free_port
from touchline.config import NodeConfig, parse
from touchline.config.record import RecordSection
from touchline.errors import ConfigError, LinkError, ResourceError, TouchlineError

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="a file of root's takes root")
CAMERA = '[[camera]]\nnumber = {number}\nsource = "pattern"\nwidth_px = 64\nheight_px = 64\ncalibration = "c.json"\n'


class Desk:
    """A node's configuration in a folder, its twin's certificate authority, and its ``[record]``."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.ca = folder, LocalCa(folder / "pki")
        self.files = self.ca.client("node-a")
        self.values: dict[str, Any] = {"folder": str(folder / "rec"), "max_size": "2MiB", "min_free": "1MiB"}
        self.cameras = 1
        self.clock = ""
        self.failover = True

    def config(self, **record: Any) -> NodeConfig:
        files, values = self.files, {**self.values, **record}
        lines = [f'[node]\nname = "node-a"\nrun_dir = "{self.folder}"', self.clock]
        lines += [CAMERA.format(number=number) for number in range(1, self.cameras + 1)]
        lines.append(
            f'[publish]\nspool_dir = "{self.folder}/spool"\n[mqtt]\nhost = "rack"\nca_file = "{files.ca_file}"'
        )
        lines.append(f'cert_file = "{files.cert_file}"\nkey_file = "{files.key_file}"')
        if self.failover:
            lines.append('[failover]\npair = "p"\ntwin = "node-b"\nwitness = "127.0.0.1:7411"')
            lines.append('paths = [["127.0.0.1:7400", "127.0.0.1:7401"]]')
        words = {key: f'"{value}"' if isinstance(value, str) else value for key, value in values.items()}
        lines.append("[record]\n" + "\n".join(f"{key} = {value}" for key, value in words.items()))
        return parse("\n".join(lines), NodeConfig)

    def section(self, **record: Any) -> tuple[NodeConfig, RecordSection]:
        config = self.config(**record)
        assert config.record is not None
        return config, config.record


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def script(path: Path, text: str = 'exec ffmpeg "$@"') -> str:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


# --- program, spare, encoder -----------------------------------------------------------------------------------------


def test_the_program_is_named_and_a_missing_one_has_its_fix(desk):
    assert program_text(desk.section()[1]).endswith("ffmpeg")
    with pytest.raises(ResourceError, match="cannot be run") as caught:
        program_text(desk.section(ffmpeg="/nonexistent/ffmpeg")[1])
    assert "apt install ffmpeg" in caught.value.hint


def test_a_spare_that_would_have_to_run_is_no_good_state(desk, tmp_path):
    record = desk.section(ffmpeg=str(tmp_path / "gone"), spare=script(tmp_path / "spare"))[1]
    with pytest.raises(ResourceError, match=r"the spare .* is used") as caught:
        program_text(record)
    assert "touchline node encoder install" in caught.value.hint


def test_without_a_spare_it_says_so(desk):
    assert "record.spare is empty" in spare_text(desk.section()[1])


@needs_root
def test_a_good_spare_a_doubtful_one_and_a_bad_one(desk, tmp_path, monkeypatch):
    first, second = tmp_path / "ffmpeg", tmp_path / "ffmpeg.spare"
    shutil.copy(script(tmp_path / "made"), first)
    shutil.copy(first, second)
    second.chmod(0o500)
    digest_file(second).write_text(sha256_of(second))
    record = desk.section(ffmpeg=str(first), spare=str(second))[1]
    monkeypatch.setattr(spare_module, "immutable", lambda path: True)
    assert spare_text(record) == f"{second}: root's, mode 0500, immutable, the same bytes"
    monkeypatch.setattr(spare_module, "immutable", lambda path: None)
    assert "cannot be told here" in spare_text(record)
    monkeypatch.setattr(spare_module, "immutable", lambda path: False)
    second.chmod(0o755)
    first.write_text("#!/bin/sh\nexit 0\n")
    os.chown(second, 12345, -1)
    with pytest.raises(ResourceError) as caught:
        spare_text(record)
    for words in ("belongs to user 12345", "mode 0755", "is not immutable", "differ", "chattr +i"):
        assert words in caught.value.message


def test_the_encoder_is_probed_once_for_cameras_alike_and_those_passed_over_are_named(desk, monkeypatch):
    desk.cameras = 2
    config, record = desk.section()
    check_record._found.cache_clear()
    text = [encoder_text(record, camera) for camera in config.camera]
    assert text[0] == text[1] and text[0].startswith("libx264, h264, a key frame every 15 frames; libx264, on the CPU,")
    assert "h264_nvmpi: " in text[0]
    assert check_record._found.cache_info().misses == 1
    with pytest.raises(ResourceError, match="has no h264_nvmpi"):
        encoder_text(desk.section(encoder="h264_nvmpi")[1], config.camera[0])


# --- disk ------------------------------------------------------------------------------------------------------------


def free(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr(check_record, "free_in", lambda folder: count)


def test_the_disk_must_hold_what_is_to_be_kept_and_what_is_left_to_others(desk, monkeypatch):
    config, record = desk.section(max_size="10MiB", min_free="4MiB")
    free(monkeypatch, 14 << 20)
    assert "10.49 MB of 10.49 MB to be kept; beyond that the first recorded go" in folder_text(config, record)
    free(monkeypatch, (14 << 20) - 2_000_000)
    with pytest.raises(ResourceError, match="recording will stop before the oldest files go") as caught:
        folder_text(config, record)
    assert caught.value.hint == "free space, or lower record.max_size by 2.00 MB"


def test_what_is_held_already_counts_as_room_and_the_mirrors_share_as_kept(desk, monkeypatch):
    names = ("node-a_cam1_00000001_20270115T075923.000000Z_01234567.mp4", "match.mp4")
    for folder, name in ((desk.folder / "rec" / "cam1", name) for name in names):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(bytes(1 << 20))
    free(monkeypatch, 18 << 20)
    config, record = desk.section(max_size="10MiB", mirror_max="8MiB", mirror_listen="127.0.0.1:1", mirror_peer="b:1")
    assert "1.05 MB held, 18.87 MB of 18.87 MB to be kept" in folder_text(config, record)
    free(monkeypatch, (18 << 20) - 1)
    with pytest.raises(ResourceError):
        folder_text(config, record)


def test_whether_age_deletes_anything_is_said(desk):
    assert "none goes by age, for the system clock never locks" in folder_text(*desk.section())
    desk.clock = '[clock]\nsource = "ptp"\n'
    assert "files older than 168 h go while the clock is locked" in folder_text(*desk.section())


def test_a_folder_that_cannot_be_made_has_its_fix(desk, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(ResourceError, match="cannot be written") as caught:
        folder_text(*desk.section(folder=str(tmp_path / "file")))
    assert "agent's user" in caught.value.hint


# --- mirror ----------------------------------------------------------------------------------------------------------


def mirrored(listen: str = "127.0.0.1:7420", peer: str = "192.0.2.12:7420", **more: Any) -> dict[str, Any]:
    return {"mirror_listen": listen, "mirror_peer": peer, **more}


def test_a_good_mirror_names_both_ends_and_what_is_kept(desk):
    assert mirror_text(*desk.section(**mirrored())) == (
        "at 127.0.0.1:7420 for node-b, to it at 192.0.2.12:7420; 268.44 MB a camera kept here, 16.78 MB wait in memory"
    )
    desk.cameras = 2
    assert "at 127.0.0.1:7420 to 7421 for node-b" in mirror_text(*desk.section(**mirrored()))


@pytest.mark.parametrize(
    ("record", "words"),
    [
        (mirrored("192.0.2.77:7420"), "mirror_listen: 192.0.2.77:7420 is no address of this machine"),
        (mirrored("127.0.0.1:65535"), "take the ports 65535 to 65536"),
        (mirrored(peer="127.0.0.1:7420"), "are both 127.0.0.1:7420"),
        (mirrored(mirror_max="9MiB"), "leaves 4 MiB a camera"),
    ],
)
def test_each_mistake_of_the_mirror_has_its_fix(desk, record, words):
    desk.cameras = 2
    with pytest.raises(ConfigError, match=words) as caught:
        mirror_text(*desk.section(**record))
    assert caught.value.hint


def test_a_mirror_needs_a_twin_and_a_certificate(desk):
    desk.failover = False
    with pytest.raises(ConfigError, match=r"needs \[failover\]"):
        mirror_text(*desk.section(**mirrored()))
    desk.failover = True
    desk.files.cert_file.unlink()
    with pytest.raises(TouchlineError, match=r"mqtt\."):
        mirror_text(*desk.section(**mirrored()))


@pytest.fixture
def twin(desk: Desk) -> Iterator[MirrorReceiver]:
    """node-b's receiver."""
    config = desk.config()
    files = desk.ca.client("node-b")
    theirs = config.mqtt.model_copy(update={"cert_file": files.cert_file, "key_file": files.key_file})
    address = f"127.0.0.1:{free_port()}"
    shelf = Shelf(desk.folder / "mirror", Bounds(1 << 30), lambda *_: None)
    made = MirrorReceiver(address, Identity(theirs, "node-a"), 1, shelf)
    yield made
    made.close()


def test_the_twins_receiver_is_asked_and_not_disturbed(desk, twin):
    config, record = desk.section(**mirrored(peer=f"127.0.0.1:{twin.port}"))
    assert reach_text(config, record, 0).startswith(f"node-b at 127.0.0.1:{twin.port} lets this node in")
    assert not twin.connected and twin.refused == 0
    with pytest.raises(LinkError, match=r"cannot be reached|ended"):  # the second camera's, which nobody listens for
        reach_text(config, record, 1)
    twin.close()
    with pytest.raises(LinkError, match="cannot be reached") as caught:
        reach_text(config, record, 0)
    assert "mirror_listen" in caught.value.hint


# --- together --------------------------------------------------------------------------------------------------------


def of_record(findings: Iterator[Finding]) -> Sequence[Finding]:
    names = ("record", "camera 1: encoder", "camera 1: mirror")
    return [finding for finding in findings if finding.what.startswith(names)]


def test_every_part_has_its_finding_and_only_connect_asks_the_twin(desk, twin):
    desk.values |= mirrored(peer=f"127.0.0.1:{twin.port}", mirror_max="8MiB")
    found = of_record(check_node(desk.config()))
    names = ["record program", "record spare", "camera 1: encoder", "record folder", "record mirror"]
    assert [one.what for one in found] == names
    assert all(one.good for one in found)
    assert [one.what for one in of_record(check_node(desk.config(), connect=True))] == [*names, "camera 1: mirror"]


def test_what_is_wrong_is_a_finding_each_with_its_exit_code_and_fix(desk):
    desk.values |= mirrored("192.0.2.77:7420", ffmpeg="/nonexistent/ffmpeg", max_size="1000GiB")
    found = {one.what: one for one in of_record(check_node(desk.config()))}
    codes = {what: one.exit_code for what, one in found.items()}
    assert codes == {
        "record program": 5,
        "record spare": 0,
        "camera 1: encoder": 5,
        "record folder": 5,
        "record mirror": 3,
    }
    assert all(one.fix for one in found.values() if not one.good)


def test_without_record_nothing_is_said_of_it(desk):
    config = desk.config().model_copy(update={"record": None})
    assert of_record(check_node(config)) == []


def test_a_folder_that_may_not_be_looked_at_is_a_finding(desk, monkeypatch):
    def refuse(folder: Path) -> int:
        raise PermissionError(13, "Permission denied", str(folder))

    monkeypatch.setattr(check_record, "free_in", refuse)
    found = {one.what: one for one in of_record(check_node(desk.config()))}
    assert found["record folder"].exit_code == 5 and "Permission denied" in found["record folder"].detail
