"""Get the wheels: ours from the checkout, the locked ones through the machine's own pip configuration."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from flash.bundle.lock import Pin, Target
from touchline.errors import InputError, LinkError, TouchlineError
from touchline.run import run

_PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input")
_TIMEOUT_S = 1800.0
_SOURCE_DATE = "1580601600"  # 2020-02-02, hatchling's own choice: equal sources give an equal wheel


def build_own_wheel(checkout: Path, into: Path) -> Path:
    """Build our wheel with the hatchling of this environment; nothing is fetched."""
    argv: list[str | Path] = [
        *_PIP,
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
        "--wheel-dir",
        into,
        checkout,
    ]
    run(argv, timeout_s=_TIMEOUT_S, env={**os.environ, "SOURCE_DATE_EPOCH": _SOURCE_DATE})
    built = sorted(into.glob("touchline-*.whl"))
    if len(built) != 1:
        raise InputError(f"building our wheel gave {len(built)} files", hint="pip install -e '.[build]' and try again")
    return built[0]


def download(pins: Sequence[Pin], target: Target, into: Path) -> None:
    """Download the wheel of every pin for ``target``, each against its locked hash."""
    wanted = into / "requirements.txt"
    wanted.write_text("".join(pin.line() + "\n" for pin in pins))
    argv = [*_PIP, "download", "--quiet", "--progress-bar=off", "--no-deps", "--require-hashes"]
    argv += ["--only-binary=:all:", "--implementation=cp", f"--python-version={target.python}"]
    argv += [f"--platform={one}" for one in target.platforms()]
    try:
        run([*argv, "--dest", into, "--requirement", wanted], timeout_s=_TIMEOUT_S)
    except TouchlineError as error:
        raise _explained(error, target) from error
    finally:
        wanted.unlink()


def _explained(error: TouchlineError, target: Target) -> TouchlineError:
    where = f"for {target.arch} and Python {target.python}"
    missing = re.search(r"No matching distribution found for (\S+)", error.message)
    if missing:
        return InputError(
            f"{missing[1]} has no wheel {where}",
            hint="lock a version that has one (make lock), or check that pip's package index can be reached",
        )
    if "DO NOT MATCH THE HASHES" in error.message:
        return InputError(f"a download {where} is not the locked file: {error.message}", hint="check the package index")
    return LinkError(f"the wheels {where} cannot be fetched: {error.message}", hint="see pip config list")
