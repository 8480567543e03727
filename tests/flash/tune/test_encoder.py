"""The spare encoder: put there, left alone, updated, restored, judged. On a real file system, with the real flag."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from agent.record.spare import digest_file, immutable, judge, noted_digest, sha256_of
from flash.node_cli import node
from flash.tune.encoder import check_primary, find_primary, findings, install, restore
from flash.tune.immutable import set_immutable
from tests.flash.tune.test_tune_cli import CONFIG
from touchline.errors import ConfigError, GateError, InputError, ResourceError
from touchline.shell import guarded

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(os.geteuid() != 0, reason="owning and protecting the spare takes root"),
]


def program(path: Path, version: str = "7.1") -> Path:
    """Something that says that it is ffmpeg."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho ffmpeg version {version}\n")
    path.chmod(0o755)
    return path


NAMES = ["ffmpeg.spare", "ffmpeg.spare.sha256"]


class Both:
    def __init__(self, folder: Path) -> None:
        self.primary = program(folder / "usr/bin/ffmpeg")
        self.spare = folder / "usr/local/lib/touchline/ffmpeg.spare"

    def faults(self) -> str:
        return " ".join(one.text for one in findings(self.primary, self.spare))


@pytest.fixture
def both(tmp_path):
    made = Both(tmp_path)
    if immutable(made.primary) is None:
        pytest.skip("this file system keeps no immutable flag")
    yield made
    for path in (made.spare, made.primary):
        if path.is_file() and not path.is_symlink():
            set_immutable(path, False)


def test_the_spare_is_roots_0500_immutable_and_the_same(both):
    assert install(both.primary, both.spare)
    found = both.spare.stat()
    assert (found.st_uid, found.st_mode & 0o7777) == (0, 0o500)
    assert immutable(both.spare)
    assert both.spare.read_bytes() == both.primary.read_bytes()
    assert noted_digest(both.spare) == sha256_of(both.primary)
    assert digest_file(both.spare).stat().st_mode & 0o7777 == 0o444
    with pytest.raises(PermissionError):
        both.spare.write_text("not even root")
    with pytest.raises(PermissionError):
        both.spare.unlink()
    assert judge(both.primary, both.spare) == []


def test_a_second_time_does_nothing(both):
    install(both.primary, both.spare)
    before = both.spare.stat()
    assert not install(both.primary, both.spare)
    assert both.spare.stat().st_ino == before.st_ino


def test_nothing_is_left_beside_it(both):
    install(both.primary, both.spare)
    assert sorted(path.name for path in both.spare.parent.iterdir()) == NAMES


def test_an_upgrade_is_followed_only_when_somebody_says_so(both):
    install(both.primary, both.spare)
    program(both.primary, "7.2")
    assert f"{both.primary} and {both.spare} differ" in both.faults()
    with pytest.raises(GateError, match="differ") as caught:
        install(both.primary, both.spare)
    assert "--update" in caught.value.hint
    assert b"7.1" in both.spare.read_bytes()
    assert install(both.primary, both.spare, update=True)
    assert b"7.2" in both.spare.read_bytes()
    assert judge(both.primary, both.spare) == []


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (lambda spare: set_immutable(spare, False), "is not immutable"),
        (lambda spare: spare.chmod(0o755), "has mode 0755, not 0500"),
        (lambda spare: os.chown(spare, 65534, -1), "belongs to user 65534"),
        (lambda spare: spare.unlink(), "is not there"),
        (lambda spare: digest_file(spare).unlink(), "is missing or no SHA-256"),
        (lambda spare: digest_file(spare).write_text("0" * 64), "is not what"),
    ],
)
def test_what_was_changed_is_seen_and_put_right(both, harm, words):
    install(both.primary, both.spare)
    set_immutable(both.spare, False)
    harm(both.spare)
    assert words in both.faults()
    assert install(both.primary, both.spare)
    assert judge(both.primary, both.spare) == []


def test_a_damaged_encoder_does_not_become_the_spare(both):
    install(both.primary, both.spare)
    both.primary.write_text("#!/bin/sh\nexit 1\n")
    with pytest.raises(InputError, match="does not run: status 1"):
        install(both.primary, both.spare, update=True)
    assert b"7.1" in both.spare.read_bytes()
    assert immutable(both.spare)
    assert sorted(path.name for path in both.spare.parent.iterdir()) == NAMES


def test_something_else_is_no_encoder(both):
    shutil.copy("/bin/true", both.primary)
    with pytest.raises(InputError, match="does not say that it is ffmpeg"):
        install(both.primary, both.spare)
    assert not both.spare.exists()


def test_a_cut_off_replacement_leaves_an_immutable_spare(both, monkeypatch):
    install(both.primary, both.spare)
    program(both.primary, "7.2")

    def cut_off(_, __):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Path, "replace", cut_off)
        install(both.primary, both.spare, update=True)
    assert b"7.1" in both.spare.read_bytes()
    assert immutable(both.spare)
    assert sorted(path.name for path in both.spare.parent.iterdir()) == NAMES


def test_restore_puts_the_spare_back(both):
    install(both.primary, both.spare)
    assert not restore(both.primary, both.spare)
    both.primary.write_bytes(b"torn")
    assert restore(both.primary, both.spare)
    assert b"7.1" in both.primary.read_bytes()
    assert both.primary.stat().st_mode & 0o7777 == 0o755
    assert not immutable(both.primary)
    both.primary.unlink()
    assert restore(both.primary, both.spare)
    assert judge(both.primary, both.spare) == []


def test_nothing_is_restored_from_a_spare_that_others_had(both):
    with pytest.raises(InputError, match="is not there"):
        restore(both.primary, both.spare)
    install(both.primary, both.spare)
    set_immutable(both.spare, False)
    both.spare.chmod(0o777)
    both.primary.write_bytes(b"torn")
    with pytest.raises(InputError, match=r"not to be trusted: .* has mode 0777, not 0500; .* is not immutable"):
        restore(both.primary, both.spare)
    assert both.primary.read_bytes() == b"torn"


def test_an_encoder_that_others_can_write_is_no_source(both):
    both.primary.chmod(0o775)
    with pytest.raises(InputError, match="can be changed by others than root"):
        install(both.primary, both.spare)
    both.primary.chmod(0o755)
    both.primary.parent.chmod(0o777)
    with pytest.raises(InputError, match="chown root:root") as caught:
        check_primary(both.primary)
    assert str(both.primary.parent) in caught.value.message


def test_the_spare_cannot_be_the_encoder(both):
    with pytest.raises(ConfigError, match="the encoder itself"):
        install(both.primary, both.primary)


def test_a_link_is_no_spare(both):
    both.spare.parent.mkdir(parents=True)
    both.spare.symlink_to("/bin/true")
    assert "is a link" in both.faults()
    with pytest.raises(InputError, match="is a link"):
        install(both.primary, both.spare)


def test_a_file_system_without_the_flag_says_so(both, monkeypatch):
    def refuse(descriptor):
        raise OSError(25, "Inappropriate ioctl for device")

    monkeypatch.setattr("flash.tune.immutable._flags", refuse)
    with pytest.raises(ResourceError, match="keeps no immutable flag") as caught:
        install(both.primary, both.spare)
    assert "ext4" in caught.value.hint


def test_other_flags_stay(both):
    """FS_NODUMP_FL, 0x40: chattr +d."""
    import fcntl
    import struct

    from flash.tune.immutable import _SETFLAGS, _flags

    with both.primary.open("rb") as stream:
        fcntl.ioctl(stream.fileno(), _SETFLAGS, struct.pack("@q", _flags(stream.fileno()) | 0x40))
        set_immutable(both.primary, True)
        assert _flags(stream.fileno()) & 0x50 == 0x50
        set_immutable(both.primary, False)
        assert _flags(stream.fileno()) & 0x50 == 0x40


def test_a_user_is_told_to_be_root(both, monkeypatch):
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(ResourceError, match="only root"):
        install(both.primary, both.spare)


def test_the_encoder_is_found(both):
    assert find_primary(str(both.primary)) == both.primary
    with pytest.raises(ResourceError, match="cannot be run"):
        find_primary(str(both.primary.with_name("gone")))


# --- the commands ---------------------------------------------------------------------------------------------------


@pytest.fixture
def command(both, tmp_path, capsys, monkeypatch):
    config = tmp_path / "node.toml"
    config.write_text(f'{CONFIG}[record]\nfolder = "r"\nffmpeg = "{both.primary}"\nspare = "{both.spare}"\n')

    def call(*words):
        argv = ["encoder", *words, "--config", str(config)]
        monkeypatch.setattr("sys.argv", ["touchline", "node", *argv])
        code = guarded(lambda: node.main(argv, standalone_mode=False))
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


def test_the_commands(command, both):
    code, out, err = command("check")
    assert code == 8
    assert "is not there" in out
    assert "node encoder install" in err
    assert command("install")[0] == 0
    assert command("install")[1].endswith("as it shall be, nothing to do\n")
    assert command("check") == (0, f"{both.spare}: good\n", "")
    program(both.primary, "7.2")
    assert command("install")[0] == 8
    code, out, _ = command("install", "--update", "--json")
    assert (code, json.loads(out)["changed"]) == (0, True)
    both.primary.unlink()
    code, out, _ = command("restore", "--json")
    assert (code, json.loads(out)["changed"]) == (0, True)
    code, out, _ = command("check", "--json")
    assert (code, json.loads(out)["good"]) == (0, True)


def test_a_node_that_asks_for_no_spare(command, tmp_path):
    (tmp_path / "node.toml").write_text(CONFIG)
    code, _, err = command("check")
    assert code == 3
    assert "[record] spare" in err


@pytest.mark.skipif(not Path("/usr/bin/ffmpeg").exists(), reason="ffmpeg is not installed here")
def test_the_real_ffmpeg(both):
    assert install(find_primary("/usr/bin/ffmpeg"), both.spare)
    assert judge(find_primary("/usr/bin/ffmpeg"), both.spare) == []
