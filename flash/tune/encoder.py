"""The spare encoder (FOV-5): a second copy of ffmpeg that only root can run, and that nobody changes by mistake.

What it shall be is judged in :mod:`agent.record.spare`; here it is made, brought up to date and put back.
"""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from pathlib import Path
from typing import Final

from agent.record.spare import SPARE_MODE, Finding, digest_file, immutable, judge, sha256_of
from flash.tune.immutable import set_immutable
from touchline.errors import ConfigError, GateError, InputError, ResourceError

PRIMARY_MODE: Final = 0o755
USUAL: Final = Path("/usr/bin/ffmpeg")
_RUN_TIMEOUT_S: Final = 20.0
_OTHERS_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH
_OF_THE_PRIMARY: Final = {"digest_differs", "primary_missing"}  # what a restore mends


def find_primary(configured: str) -> Path:
    """The encoder that the recorder runs: ``[record] ffmpeg``, or the one in PATH."""
    found = shutil.which(configured or "ffmpeg")
    if found is None and not configured:
        return USUAL  # gone, and that is what restore mends
    if found is None:
        what = f"{configured} cannot be run" if configured else "ffmpeg is not installed"
        raise ResourceError(what, hint="apt install ffmpeg, or name it with [record] ffmpeg")
    return Path(found).resolve()


def findings(primary: Path, spare: Path) -> list[Finding]:
    """Everything that is wrong with the two copies; telling all of it takes root, for the spare is mode 0500."""
    if spare.is_symlink():
        return [Finding("error", "spare_link", f"{spare} is a link", "remove it, then make the spare anew")]
    return judge(primary, spare)


def install(primary: Path, spare: Path, update: bool = False) -> bool:
    """Make the spare what it shall be; returns whether anything was done.

    A spare with other bytes than the primary is replaced only with ``update``: which of the two is the good one, a
    program cannot know. Raises GateError then.
    """
    _need_root()
    check_primary(primary)
    if spare.exists() and spare.samefile(primary):
        raise ConfigError(f"{spare} is the encoder itself", hint="name another file with [record] spare")
    wrong = findings(primary, spare)
    if not wrong:
        return False
    codes = {one.code for one in wrong}
    if "spare_link" in codes:
        raise InputError(wrong[0].text, hint=wrong[0].fix)
    if "digest_differs" in codes and not update:
        raise GateError(
            f"{spare} and {primary} differ",
            hint="ffmpeg was upgraded: install --update; it is the damaged one: touchline node encoder restore",
        )
    _replace(primary, spare, SPARE_MODE)
    _note_digest(spare)
    left = findings(primary, spare)
    if left:
        raise ResourceError(f"the spare is still not what it shall be: {left[0].text}", hint=left[0].fix)
    return True


def restore(primary: Path, spare: Path) -> bool:
    """Put the spare's bytes back in the place of the primary; returns whether that was needed."""
    _need_root()
    wrong = findings(primary, spare)
    foreign = [one.text for one in wrong if one.code not in _OF_THE_PRIMARY]
    if foreign:
        raise InputError(f"the spare is not to be trusted: {'; '.join(foreign)}", hint="apt install --reinstall ffmpeg")
    if wrong:
        _replace(spare, primary, PRIMARY_MODE)
    return bool(wrong)


def check_primary(primary: Path) -> None:
    """Raise when somebody else than root could have written the encoder: then a copy of it is worth nothing."""
    for path in (primary, *primary.parents):
        found = path.stat()
        shared = found.st_mode & _OTHERS_WRITE and not (path != primary and found.st_mode & stat.S_ISVTX)
        if found.st_uid != 0 or shared:
            raise InputError(
                f"{path} can be changed by others than root ({stat.filemode(found.st_mode)}, user {found.st_uid})",
                hint=f"chown root:root {path} && chmod go-w {path}",
            )
    if not stat.S_ISREG(primary.stat().st_mode):
        raise InputError(f"{primary} is no regular file", hint="name ffmpeg itself with [record] ffmpeg")


# --- one file in another's place ------------------------------------------------------------------------------------


def _replace(source: Path, target: Path, mode: int) -> None:
    """Copy beside the target, sync, run the copy, rename it over; the flag off before and on after for the spare."""
    target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    fresh = target.with_name(f".{target.name}.new")
    try:
        _copy(source, fresh, mode)
        _check_runs(fresh)
        was = target.exists() and bool(immutable(target))
        if was:
            set_immutable(target, False)
        try:
            fresh.replace(target)
            _sync_folder(target.parent)
        finally:
            if mode == SPARE_MODE or was:
                set_immutable(target, True)
    except OSError as error:
        raise ResourceError(f"{error.filename or target}: {error.strerror}", hint="check space and mount") from error
    finally:
        fresh.unlink(missing_ok=True)


def _copy(source: Path, fresh: Path, mode: int) -> None:
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    with source.open("rb") as stream, os.fdopen(descriptor, "wb") as copy:
        shutil.copyfileobj(stream, copy, 1 << 20)
        copy.flush()
        os.fchown(copy.fileno(), 0, 0)
        os.fchmod(copy.fileno(), mode)
        os.fsync(copy.fileno())


def _check_runs(program: Path) -> None:
    """The copy must start and say that it is ffmpeg: a truncated one does not."""
    argv = [str(program), "-hide_banner", "-version"]
    try:
        done = subprocess.run(argv, capture_output=True, timeout=_RUN_TIMEOUT_S, check=False, stdin=subprocess.DEVNULL)
        failed = f"status {done.returncode}" if done.returncode else ""
        failed = failed or ("" if done.stdout.startswith(b"ffmpeg version") else "it does not say that it is ffmpeg")
    except (OSError, subprocess.TimeoutExpired) as error:
        failed = str(error)
    if failed:
        raise InputError(f"the copy of the encoder does not run: {failed}", hint="is the source damaged, or noexec?")


def _note_digest(spare: Path) -> None:
    """What the recorder, which may not read the spare, compares the encoder with."""
    note = digest_file(spare)
    fresh = note.with_name(f".{note.name}.new")
    fresh.unlink(missing_ok=True)
    with fresh.open("x", encoding="ascii") as stream:
        stream.write(f"{sha256_of(spare)}  {spare.name}\n")
        stream.flush()
        os.fchmod(stream.fileno(), 0o444)
        os.fsync(stream.fileno())
    fresh.replace(note)
    _sync_folder(note.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _need_root() -> None:
    if os.geteuid() != 0:
        raise ResourceError("only root can own and protect the spare", hint="run it with sudo")
