"""Temporary folders that do not outlive their process for long: one that was killed leaves its folder unlocked, and
whoever starts next on the machine removes it.

The lock is the kernel's (`flock` on the folder), so it ends with the process in whatever way that ends, and it is seen
from other containers too, where process ids would mean nothing.
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

SCRATCH: Final = "orchard-scratch-"
"""Prefix of the folders that hold tenants' rows, checkpoints and adapters while they are copied."""


@contextmanager
def owned_folder(prefix: str, parent: Path | None = None) -> Iterator[Path]:
    """A new folder below `parent` (default: the machine's temporary folder), locked and removed with the block.

    It may be renamed away inside the block. Raises: OSError.
    """
    folder, lock = _made(prefix, parent)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def remove_abandoned(prefix: str, parent: Path | None = None) -> list[Path]:
    """Remove this user's folders of that prefix whose processes are dead. Returns what was removed."""
    removed = []
    for folder in sorted((parent or Path(tempfile.gettempdir())).glob(f"{prefix}*")):
        try:
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError:  # just removed, no folder, or another user's
            continue
        try:
            if os.fstat(lock).st_uid != os.geteuid():
                continue
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
        except OSError:  # its process lives
            continue
        finally:
            os.close(lock)
        removed.append(folder)
    return removed


def _made(prefix: str, parent: Path | None) -> tuple[Path, int]:
    """A locked folder. Between its making and its lock another process may take it for abandoned: then a new one."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
        try:
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            continue
        fcntl.flock(lock, fcntl.LOCK_EX)
        if folder.is_dir():
            return folder, lock
        os.close(lock)
