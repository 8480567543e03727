"""Find another program, and run one to its end: bounded in time, its failure a message with its last words."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from touchline.errors import ResourceError, TouchlineError

_LAST_WORDS = 400


def need(program: str, package: str) -> str:
    """Return the program's path, or raise :class:`ResourceError` naming the Debian package that brings it."""
    found = shutil.which(program) or shutil.which(program, path="/usr/sbin:/sbin:/usr/local/sbin")
    if found is None:
        raise ResourceError(f"{program} is not installed", hint=f"apt install {package}")
    return found


def run(
    argv: Sequence[str | Path],
    *,
    timeout_s: float = 60.0,
    stdin: bytes | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> subprocess.CompletedProcess[bytes]:
    """Run ``argv`` to its end and return its output.

    Raises :class:`ResourceError` when it cannot start (never a bare OSError) or outlasts ``timeout_s``, and
    :class:`TouchlineError` with the end of its standard error when it fails.
    """
    words = [str(word) for word in argv]
    try:
        done = subprocess.run(words, input=stdin, capture_output=True, timeout=timeout_s, env=env, cwd=cwd, check=False)
    except subprocess.TimeoutExpired as error:
        raise ResourceError(f"{words[0]} did not finish within {timeout_s:g} s") from error
    except OSError as error:  # not there, not to be executed, no process or memory left
        if isinstance(error, FileNotFoundError) and error.filename == words[0]:
            raise ResourceError(f"{words[0]} is not installed") from error
        what = f"{error.filename}: {error.strerror}" if error.filename else error.strerror or str(error)
        raise ResourceError(
            f"{words[0]} could not be run: {what}", hint="check memory, processes and rights"
        ) from error
    if done.returncode != 0:
        last = done.stderr.decode(errors="replace").strip()[-_LAST_WORDS:]
        raise TouchlineError(f"{words[0]} failed with status {done.returncode}: {last}")
    return done
