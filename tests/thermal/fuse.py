"""A file system in memory whose every read and write a test decides: the kernel's FUSE protocol, spoken in Python.

For what no folder of plain files can do: a read that ends with EAGAIN or EIO, or hangs; a write that is refused or
accepted and lost; devices that get other numbers while a process looks. It needs /dev/fuse and the right to mount.
Only what sysfs needs is spoken: folders, links and small files; nothing is cached (``FOPEN_DIRECT_IO``, validity 0).
Layouts: linux/fuse.h, protocol 7.31.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

LOOKUP, FORGET, GETATTR, SETATTR, READLINK = 1, 2, 3, 4, 5
OPEN, READ, WRITE, STATFS, RELEASE, FLUSH, INIT, OPENDIR, READDIR, RELEASEDIR = 14, 15, 16, 17, 18, 25, 26, 27, 28, 29
ACCESS, INTERRUPT, DESTROY, BATCH_FORGET = 34, 36, 38, 42
DIRECT_IO = 1
MNT_DETACH = 2
_REQUEST_BYTES = 1 << 17
_HEAD = struct.Struct("<IIQQIIIHH")
_ANSWER = struct.Struct("<IiQ")


class Hang(Exception):
    """Raised by a tree's ``read``: no answer until ``Mount.release`` or until the reader is killed."""


class Tree(Protocol):
    """What is mounted. Paths begin with ``/``. All raise OSError with the errno that the reader shall see."""

    def kind(self, path: str) -> int:
        """The file's mode: S_IFDIR, S_IFREG or S_IFLNK with its permissions; ENOENT."""
        ...

    def names(self, path: str) -> list[str]: ...

    def target(self, path: str) -> str: ...

    def read(self, path: str) -> bytes: ...

    def write(self, path: str, data: bytes) -> None: ...


class Mount:
    """One mounted tree, served by a thread."""

    def __init__(self, tree: Tree, folder: Path) -> None:
        self._tree = tree
        self._folder = folder
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._device = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
        options = f"fd={self._device},rootmode=40000,user_id={os.getuid()},group_id={os.getgid()},allow_other"
        if self._libc.mount(b"faketree", os.fsencode(folder), b"fuse.faketree", 0, options.encode()):
            number = ctypes.get_errno()
            os.close(self._device)
            raise OSError(number, os.strerror(number), str(folder))
        self._paths = {1: "/"}
        self._numbers = {"/": 1}
        self._hanging: set[int] = set()
        self._thread = threading.Thread(target=self._serve, name="fuse", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Unmount; whoever still waits gets an error."""
        self.release()
        self._libc.umount2(os.fsencode(self._folder), MNT_DETACH)
        self._thread.join(5.0)
        os.close(self._device)

    def release(self) -> None:
        """Answer all hanging reads with EIO."""
        for unique in list(self._hanging):
            self._answer(unique, -errno.EIO)

    def _serve(self) -> None:
        while True:
            try:
                request = os.read(self._device, _REQUEST_BYTES)
            except OSError as error:
                if error.errno in (errno.EINTR, errno.ENOENT):
                    continue
                return  # ENODEV: unmounted
            _, opcode, unique, node, *_ = _HEAD.unpack_from(request)
            body = request[_HEAD.size :]
            if opcode in (FORGET, BATCH_FORGET):
                continue
            if opcode == INTERRUPT:
                (stopped,) = struct.unpack_from("<Q", body)
                if stopped in self._hanging:
                    self._answer(stopped, -errno.EINTR)
                continue
            try:
                self._answer(unique, 0, self._do(opcode, self._paths[node] if node else "/", body))
            except Hang:
                self._hanging.add(unique)
            except OSError as error:
                self._answer(unique, -(error.errno or errno.EIO))

    def _answer(self, unique: int, error: int, body: bytes = b"") -> None:
        self._hanging.discard(unique)
        try:
            os.write(self._device, _ANSWER.pack(_ANSWER.size + len(body), error, unique) + body)
        except OSError:  # the one who asked is gone
            return

    def _do(self, opcode: int, path: str, body: bytes) -> bytes:
        if opcode in (RELEASE, RELEASEDIR, FLUSH, ACCESS, DESTROY):
            return b""
        does = {
            INIT: self._init,
            LOOKUP: self._lookup,
            GETATTR: self._getattr,
            SETATTR: self._getattr,
            READLINK: lambda path, _: self._tree.target(path).encode(),
            OPEN: self._open,
            OPENDIR: self._open,
            READ: self._read,
            WRITE: self._write,
            READDIR: self._readdir,
            STATFS: lambda *_: struct.pack("<5Q4I6I", 0, 0, 0, 0, 0, 4096, 255, 4096, 0, *[0] * 6),
        }.get(opcode)
        if does is None:
            raise OSError(errno.ENOSYS, "not spoken here")
        return does(path, body)

    def _init(self, _path: str, _body: bytes) -> bytes:
        return struct.pack("<IIIIHHIIHHI7I", 7, 31, 0, 0, 8, 8, 4096, 1, 1, 0, 0, *[0] * 7)

    def _lookup(self, path: str, body: bytes) -> bytes:
        child = joined(path, body.rstrip(b"\0").decode())
        return struct.pack("<QQQQII", self._number(child), 0, 0, 0, 0, 0) + self._attributes(child)

    def _getattr(self, path: str, _body: bytes) -> bytes:
        return struct.pack("<QII", 0, 0, 0) + self._attributes(path)

    def _open(self, path: str, _body: bytes) -> bytes:
        self._tree.kind(path)
        return struct.pack("<QII", 0, DIRECT_IO, 0)

    def _read(self, path: str, body: bytes) -> bytes:
        _, offset, size = struct.unpack_from("<QQI", body)
        return self._tree.read(path)[offset : offset + size]

    def _write(self, path: str, body: bytes) -> bytes:
        _, _, size = struct.unpack_from("<QQI", body)
        self._tree.write(path, body[40 : 40 + size])
        return struct.pack("<II", size, 0)

    def _number(self, path: str) -> int:
        self._tree.kind(path)
        number = self._numbers.setdefault(path, len(self._numbers) + 1)
        self._paths[number] = path
        return number

    def _attributes(self, path: str) -> bytes:
        mode = self._tree.kind(path)
        size = 4096 if stat.S_ISREG(mode) else 0  # as sysfs says
        return struct.pack("<6Q10I", self._number(path), size, 0, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)

    def _readdir(self, path: str, body: bytes) -> bytes:
        _, offset, size = struct.unpack_from("<QQI", body)
        found = b""
        for number, name in enumerate(self._tree.names(path)[offset:], start=offset + 1):
            raw = name.encode()
            kind = stat.S_IFMT(self._tree.kind(joined(path, name))) >> 12
            entry = struct.pack("<QQII", 0xFFFF, number, len(raw), kind) + raw + b"\0" * (-len(raw) % 8)
            if len(found) + len(entry) > size:
                break
            found += entry
        return found


def joined(folder: str, name: str) -> str:
    """A path of the tree."""
    return f"{folder.rstrip('/')}/{name}"


def can_mount() -> bool:
    """Whether this machine and user can."""
    return os.access("/dev/fuse", os.R_OK | os.W_OK) and os.geteuid() == 0


@contextmanager
def mounted(tree: Tree, folder: Path) -> Iterator[Mount]:
    """Mount a tree at a folder for a while."""
    mount = Mount(tree, folder)
    try:
        yield mount
    finally:
        mount.close()
