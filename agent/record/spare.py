"""Two copies of the encoder's program: a judgement on both, and which of them to run (FOV-5).

The spare belongs to root, mode 0500, immutable, so that neither a fault of ours nor an upgrade takes it away. Beside it
lies ``SPARE.sha256`` (readable by all), because who is not root cannot read the spare itself.
"""

from __future__ import annotations

import array
import errno
import fcntl
import hashlib
import os
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

SPARE_MODE: Final = 0o500
_FS_IOC_GETFLAGS: Final = 0x8008_6601  # linux/fs.h: _IOR('f', 1, long)
_FS_IMMUTABLE_FL: Final = 0x0000_0010
_CHUNK: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing about the copies that is not as it should be. ``warning``: it could not be told."""

    severity: Literal["warning", "error"]
    code: str
    text: str
    fix: str


def primary_of(configured: str) -> Path:
    """The first copy: ``[record] ffmpeg``, or the one in PATH, or where it usually is when it is gone."""
    return Path(configured or shutil.which("ffmpeg") or "/usr/bin/ffmpeg")


def digest_file(spare: Path) -> Path:
    """Where the spare's SHA-256 stands, as 64 hexadecimal digits."""
    return spare.with_name(f"{spare.name}.sha256")


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, hexadecimal. Raises OSError."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def immutable(path: Path) -> bool | None:
    """Whether the file has the immutable attribute; None where the file system or our rights cannot tell."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    flags = array.array("L", [0])
    try:
        fcntl.ioctl(fd, _FS_IOC_GETFLAGS, flags)
    except OSError as error:
        if error.errno in (errno.ENOTTY, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS, errno.EPERM):
            return None
        raise
    finally:
        os.close(fd)
    return bool(flags[0] & _FS_IMMUTABLE_FL)


def judge(primary: Path, spare: Path) -> list[Finding]:
    """Everything that is wrong with the two copies; empty when both are as FOV-5 wants them. Best asked by root."""
    findings: list[Finding] = []
    if not _runnable_by_somebody(primary):
        findings.append(_missing("primary", primary))
    if not _runnable_by_somebody(spare):
        findings.append(_missing("spare", spare))
        return findings
    if spare.is_symlink():  # owner, mode and attribute would be another file's
        findings.append(Finding("error", "spare_link", f"{spare} is a link", "remove it, then make the spare anew"))
        return findings
    status = spare.stat()
    if status.st_uid != 0:
        findings.append(Finding("error", "spare_owner", f"{spare} belongs to user {status.st_uid}", "chown root"))
    mode = stat.S_IMODE(status.st_mode)
    if mode != SPARE_MODE:
        findings.append(Finding("error", "spare_mode", f"{spare} has mode {mode:04o}, not 0500", "chmod 0500"))
    findings += _judge_attribute(spare)
    if not any(finding.code == "primary_missing" for finding in findings):
        findings += _judge_digests(primary, spare)
    return findings


def _judge_attribute(spare: Path) -> list[Finding]:
    attribute = immutable(spare)
    if attribute:
        return []
    if attribute is None:
        text = f"whether {spare} is immutable cannot be told here: rights, or a file system without attributes"
        return [Finding("warning", "spare_attribute", text, "ask as root; keep the spare on ext4, xfs or btrfs")]
    return [Finding("error", "spare_attribute", f"{spare} is not immutable", f"chattr +i {spare}")]


def _judge_digests(primary: Path, spare: Path) -> list[Finding]:
    fix = "find out which one was changed; then make the spare anew from the good one"
    try:
        first, second = sha256_of(primary), sha256_of(spare)
    except OSError as error:
        return [Finding("warning", "digest_unknown", f"{error.filename}: {error.strerror}", "ask as root")]
    findings = []
    if first != second:
        findings.append(Finding("error", "digest_differs", f"{primary} and {spare} differ", fix))
    noted = noted_digest(spare)
    if noted is None:
        findings.append(
            Finding("warning", "digest_file", f"{digest_file(spare)} is missing or no SHA-256", "make the spare anew")
        )
    elif noted != second:
        findings.append(Finding("error", "spare_changed", f"{spare} is not what {digest_file(spare)} says", fix))
    return findings


def noted_digest(spare: Path) -> str | None:
    """The digest written beside the spare; None when there is none that makes sense."""
    try:
        text = digest_file(spare).read_text(encoding="ascii")[:200].split()
    except (OSError, UnicodeDecodeError):
        return None
    good = bool(text) and len(text[0]) == 64 and set(text[0]) <= set("0123456789abcdef")
    return text[0] if good else None


def _runnable_by_somebody(path: Path) -> bool:
    try:
        status = path.stat()
    except OSError:
        return False
    return stat.S_ISREG(status.st_mode) and bool(status.st_mode & 0o111)


def _missing(which: str, path: Path) -> Finding:
    text = f"{path} is not there or no program" if not path.exists() else f"{path} is no program"
    return Finding("error", f"{which}_missing", text, "apt install ffmpeg, then make the spare anew")


@dataclass(frozen=True, slots=True)
class Choice:
    """Which copy to run, and what is to be said about it, loudly."""

    program: str
    is_spare: bool
    complaints: tuple[str, ...] = ()


def choose(primary: Path, spare: Path | None) -> Choice | None:
    """The first copy, unless it cannot be run or is not what it was; None when none of them can be run by us.

    A first copy that was changed and a spare that we may not run (it is root's): the first, with a complaint. An
    upgrade of ffmpeg must not end the recording.
    """
    runs, spare_runs = _runnable_by_us(primary), spare is not None and _runnable_by_us(spare)
    if not runs:
        why = f"{primary} cannot be executed; the spare {spare} is used"
        return Choice(str(spare), True, (why,)) if spare_runs else None
    trouble = "" if spare is None else _changed(primary, spare, spare_runs)
    if not trouble:
        return Choice(str(primary), is_spare=False)
    if trouble.endswith(_DIFFERS) and spare_runs:
        return Choice(str(spare), True, (f"{trouble}; the spare {spare} is used",))
    return Choice(str(primary), False, (f"{trouble}; it is used as it is",))


_DIFFERS: Final = "is not what it was when the spare was made (SHA-256)"


def _changed(primary: Path, spare: Path, spare_readable: bool) -> str:
    """What a comparison of the two says against the first copy; empty when nothing."""
    wanted = noted_digest(spare)
    try:
        if wanted is None and spare_readable:
            wanted = sha256_of(spare)
        if wanted is None:
            return f"{primary} cannot be checked: {digest_file(spare)} is missing and {spare} not ours to read"
        return "" if sha256_of(primary) == wanted else f"{primary} {_DIFFERS}"
    except OSError as error:
        return f"{primary} cannot be checked: {error.filename}: {error.strerror}"


def _runnable_by_us(path: Path) -> bool:
    return path.is_file() and os.access(path, os.X_OK)
