"""The frame of every build in a cache: alone there, and when it ends early nothing runs on."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hil.virtual.image.host import free_bytes
from hil.virtual.image.programs import DiskFull, Programs
from hil.virtual.image.steps import only_build
from touchline.errors import ResourceError


@contextmanager
def building(programs: Programs, cache: Path) -> Iterator[None]:
    """Keep other builds out of ``cache``. An error or Ctrl-C ends the programs; what was finished stays for the next.

    Raises ResourceError when another build works there, and one that names the folder when its disk runs full.
    """
    with only_build(cache):
        try:
            yield
        except DiskFull as error:
            programs.stop()
            raise _full(cache) from error
        except OSError as error:
            programs.stop()
            if error.errno != errno.ENOSPC:
                raise
            raise _full(cache) from error
        except BaseException:  # also Ctrl-C
            programs.stop()
            raise


def _full(cache: Path) -> ResourceError:
    return ResourceError(
        f"{cache}: the disk ran full ({free_bytes(cache) / 1e9:.1f} GB are free)",
        hint="free some space, or use a --cache-dir on another disk; the build goes on where it was",
    )
