"""Steps of a build: each keyed by the hash of its inputs, made under a temporary name, kept whole or not at all."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from touchline.errors import ResourceError
from touchline.timeline import monotonic_ns

DONE, CACHED, STARTED, FAILED = "done", "cached", "started", "failed"
_KEY_DIGITS: Final = 16
_WHOLE: Final = re.compile(rf"([a-z][a-z-]*)-[0-9a-f]{{{_KEY_DIGITS}}}")


@dataclass(frozen=True, slots=True)
class StepEvent:
    """What a build says of itself: ``state`` is started, done, cached or failed; ``seconds`` 0 for started."""

    step: str
    state: str
    seconds: float = 0.0
    text: str = ""

    def as_dict(self) -> Mapping[str, Any]:
        """For one line of JSON."""
        return {"step": self.step, "state": self.state, "seconds": round(self.seconds, 2), "text": self.text}


OnEvent = Callable[[StepEvent], None]


@dataclass(slots=True)
class Outcome:
    """How something timed ended, where that is more than "done"."""

    text: str
    state: str = DONE


class Steps:
    """The cache of steps below ``folder``."""

    def __init__(self, folder: Path, on_event: OnEvent, *, force: bool = False) -> None:
        self.folder, self._on_event, self._force = folder, on_event, force
        self._used: set[Path] = set()

    def has(self, name: str, key: str | None = None) -> bool:
        """Whether a step of this name, or exactly this one, is kept and will be taken."""
        if self._force:
            return False
        return self._target(name, key).exists() if key is not None else self.newest(name) is not None

    def find(self, name: str, key: str) -> Path | None:
        """The folder of a step that was made before, taken as it is whatever ``force`` says."""
        target = self._target(name, key)
        return self._taken(target) if target.exists() else None

    def newest(self, name: str) -> Path | None:
        """The last used folder of a step's name."""
        return next(iter(self._by_name().get(name, ())), None)

    def make(self, name: str, key: str, work: Callable[[Path], None], text: str = "") -> Path:
        """The folder of a step: as it was made before from the same inputs, or made now by ``work(empty folder)``."""
        target = self._target(name, key)
        if target.exists() and not self._force:
            self._on_event(StepEvent(name, CACHED, 0.0, text))
            return self._taken(target)
        part = target.with_name(f".{target.name}.part")
        discard(part)
        part.mkdir(parents=True)
        with self.timed(name, text):
            work(part)
        discard(target)
        part.rename(target)
        return self._taken(target)

    @contextmanager
    def timed(self, name: str, text: str = "") -> Iterator[Outcome]:
        """Report the start and the end of something that is not kept, or kept elsewhere (set ``state`` CACHED)."""
        self._on_event(StepEvent(name, STARTED, 0.0, text))
        began_ns = monotonic_ns()
        outcome = Outcome(text)
        try:
            yield outcome
        except BaseException as error:  # told, then passed on: also Ctrl-C
            self._on_event(StepEvent(name, FAILED, (monotonic_ns() - began_ns) / 1e9, str(error) or "interrupted"))
            raise
        self._on_event(StepEvent(name, outcome.state, (monotonic_ns() - began_ns) / 1e9, outcome.text))

    def sweep(self) -> None:
        """Delete what an interrupted build left half made or half deleted."""
        for name in self._names():
            if not _WHOLE.fullmatch(name):
                discard(self.folder / name)

    def tidy(self, keep: int) -> None:
        """Keep the ``keep`` last used folders of each step's name, and all that this build used."""
        for folders in self._by_name().values():
            unused = [path for path in folders if path not in self._used]
            for path in unused[max(keep - (len(folders) - len(unused)), 0) :]:
                discard(path)

    def _by_name(self) -> dict[str, list[Path]]:
        """The whole folders of each step, the last used first."""
        found: dict[str, list[Path]] = {}
        for name in self._names():
            if (match := _WHOLE.fullmatch(name)) is not None:
                found.setdefault(match[1], []).append(self.folder / name)
        for folders in found.values():
            folders.sort(key=lambda path: path.stat().st_mtime_ns, reverse=True)
        return found

    def _target(self, name: str, key: str) -> Path:
        return self.folder / f"{name}-{key[:_KEY_DIGITS]}"

    def _taken(self, target: Path) -> Path:
        os.utime(target)
        self._used.add(target)
        return target

    def _names(self) -> list[str]:
        return sorted(path.name for path in self.folder.iterdir()) if self.folder.is_dir() else []


def discard(path: Path) -> None:
    """Delete a file or folder; interrupted, it leaves nothing behind under its own name."""
    if path.is_symlink() or path.is_file():
        path.unlink()
        return
    if not path.name.endswith(".gone"):
        gone = path.with_name(f".{path.name.lstrip('.')}.gone")
        if gone.exists():
            shutil.rmtree(gone)
        try:
            path = path.rename(gone)
        except FileNotFoundError:
            return
    shutil.rmtree(path)


@contextmanager
def only_build(folder: Path) -> Iterator[None]:
    """Keep a second build out of this cache; raises ResourceError at once, naming the pid of the one that works."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            lock.seek(0)
            raise ResourceError(
                f"another build (pid {lock.read().strip() or 'unknown'}) works in {folder}",
                hint="wait for it, or use another --cache-dir",
            ) from error
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        yield
