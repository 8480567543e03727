"""Where the ring's memory comes from: memfd, huge pages, the memory lock, and whether the machine has that much.

Linux only. Every refusal is a :class:`~touchline.errors.ResourceError` raised before the memory is touched, because
touching more than there is brings the kernel's out-of-memory killer instead of a message.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import mmap
import os
import resource
from pathlib import Path
from typing import Final, Literal

from touchline.errors import ResourceError

LockPolicy = Literal["required", "auto", "off"]

HUGE_PAGE_BYTES: Final = 2 * 1024 * 1024
_MFD_HUGE_2MB: Final = 21 << 26  # linux/memfd.h: log2(2 MiB) << MFD_HUGE_SHIFT
SEALS: Final = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL


def available_bytes() -> int:
    """Return how many bytes can still be taken without swapping: MemAvailable, or the cgroup's limit if lower."""
    text = Path("/proc/meminfo").read_text(encoding="ascii")
    return min(_meminfo_kib(text, "MemAvailable") * 1024, *_cgroup_rooms(), 1 << 62)


def free_huge_pages() -> int:
    """Return the number of free 2 MiB pages, 0 when the default huge page has another size."""
    text = Path("/proc/meminfo").read_text(encoding="ascii")
    if _meminfo_kib(text, "Hugepagesize") * 1024 != HUGE_PAGE_BYTES:
        return 0
    return _meminfo_kib(text, "HugePages_Free") - _meminfo_kib(text, "HugePages_Rsvd")


def _meminfo_kib(text: str, key: str) -> int:
    for line in text.splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1])
    return 0


def _cgroup_rooms() -> list[int]:
    """Free bytes under each memory limit that holds for this process; none where no limit can be read."""
    rooms = []
    try:
        lines = Path("/proc/self/cgroup").read_text(encoding="ascii").splitlines()
    except OSError:
        return []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            base, limit, usage = Path("/sys/fs/cgroup"), "memory.max", "memory.current"
        elif "memory" in controllers.split(","):
            base, limit, usage = Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes", "memory.usage_in_bytes"
        else:
            continue
        group = base / path.lstrip("/")
        for folder in [group, *group.parents]:
            if base not in (folder, *folder.parents):
                break
            room = _room(folder / limit, folder / usage)
            if room is not None:
                rooms.append(room)
    return rooms


def _room(limit: Path, usage: Path) -> int | None:
    try:
        return max(0, int(limit.read_text(encoding="ascii")) - int(usage.read_text(encoding="ascii")))
    except (OSError, ValueError):  # no such group here, or "max"
        return None


def check_room(needed_bytes: int, slots: int, available: int) -> None:
    """Refuse a ring that the machine cannot hold.

    Raises:
        ResourceError: ``needed_bytes`` is more than ``available``.
    """
    if needed_bytes > available:
        raise ResourceError(
            f"the ring of {slots} slots needs {needed_bytes / 1e9:.3f} GB and {available / 1e9:.3f} GB are available",
            hint=f"lower ring.slots to at most {slots * available // needed_bytes} or free memory",
        )


def open_memfd(size_bytes: int, huge: bool) -> int:
    """Create the sealed memory file: close-on-exec, its size fixed for good.

    Raises:
        OSError: the kernel refuses (no huge pages of 2 MiB, no descriptor left).
    """
    flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
    if huge:
        flags |= os.MFD_HUGETLB | _MFD_HUGE_2MB
    fd = os.memfd_create("touchline-ring", flags)
    try:
        os.ftruncate(fd, size_bytes)
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, SEALS)
    except OSError:
        os.close(fd)
        raise
    return fd


def allocate(fd: int, size_bytes: int) -> None:
    """Give every page of the file its memory now, so that no frame lands on a page that is not there.

    Raises:
        ResourceError: the kernel has no memory for it.
    """
    try:
        os.posix_fallocate(fd, 0, size_bytes)
    except OSError as error:
        raise ResourceError(
            f"the kernel gave no {size_bytes / 1e9:.3f} GB for the ring: {error.strerror}",
            hint="lower ring.slots or free memory",
        ) from error


def map_shared(fd: int, size_bytes: int, offset: int, *, writable: bool, populate: bool) -> mmap.mmap:
    """Map a part of the file; ``populate`` makes the page tables now. Left out of core dumps.

    Raises:
        ResourceError: the mapping is refused.
    """
    flags = mmap.MAP_SHARED | (mmap.MAP_POPULATE if populate else 0)
    prot = mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0)
    try:
        mapping = mmap.mmap(fd, size_bytes, flags=flags, prot=prot, offset=offset)
    except OSError as error:
        raise ResourceError(
            f"cannot map {size_bytes / 1e9:.3f} GB of the ring: {error.strerror}", hint="lower ring.slots"
        ) from error
    mapping.madvise(mmap.MADV_DONTDUMP)
    return mapping


def lock_memory(mapping: mmap.mmap, size_bytes: int) -> OSError | None:
    """Lock a writable mapping into RAM with mlock(2), which also brings every page in; return the refusal, if any."""
    libc = ctypes.CDLL(None, use_errno=True)
    anchor = ctypes.c_char.from_buffer(mapping)
    try:
        address = ctypes.c_void_p(ctypes.addressof(anchor))
        if libc.mlock(address, ctypes.c_size_t(size_bytes)) == 0:
            return None
        code = ctypes.get_errno()
        return OSError(code, os.strerror(code))
    finally:
        del anchor  # the mapping cannot be closed while it is exported


def lock_refusal(needed_bytes: int, slots: int, cause: OSError) -> ResourceError:
    """Return the error that says why the ring could not be locked and what to do about it (CAP-3)."""
    limit, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    limit_text = "unlimited" if limit == resource.RLIM_INFINITY else f"{limit} bytes ({limit / 2**20:.1f} MiB)"
    reason = errno.errorcode.get(cause.errno or 0, "?")
    hint = "set LimitMEMLOCK=infinity in the unit, give CAP_IPC_LOCK"
    if limit not in (resource.RLIM_INFINITY, 0):
        fit = slots * limit // needed_bytes
        hint += f", or lower ring.slots (at most {fit} fit)" if fit else ", or use smaller slots"
    hint += ', or accept an unlocked ring with ring.lock = "auto"'
    return ResourceError(
        f"the ring needs {needed_bytes} bytes of locked memory and RLIMIT_MEMLOCK is {limit_text} (mlock: {reason})",
        hint=hint,
    )
