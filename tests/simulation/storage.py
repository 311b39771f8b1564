"""Storage `sim://`: files in memory, with failures and corruption."""

import fsspec
from fsspec.implementations.memory import MemoryFileSystem

from tests.simulation.faults import BrokenStorage, Faults

SCHEME = "sim://"
PREFIX = f"{SCHEME}store/"


class SimStorage(MemoryFileSystem):
    """One store per process; each schedule starts by emptying it."""

    protocol = "sim"
    store = {}  # noqa: RUF012  # as in the class above
    pseudo_dirs = [""]  # noqa: RUF012
    faults: Faults | None = None

    @classmethod
    def _strip_protocol(cls, path):
        return super()._strip_protocol(path.removeprefix(SCHEME) if isinstance(path, str) else path)

    @classmethod
    def reset(cls, faults: Faults) -> None:
        cls.faults = faults
        cls.store.clear()
        cls.pseudo_dirs[:] = [""]

    @classmethod
    def rot(cls, containing: str) -> bool:
        """Flip one bit of one file whose path contains `containing`. False: there is none."""
        assert cls.faults is not None
        names = sorted(name for name, file in cls.store.items() if containing in name and file.size)
        if not names:
            return False
        file = cls.store[cls.faults.rng.choice(names)]
        at = cls.faults.rng.randrange(file.size)
        view = file.getbuffer()
        view[at] ^= 1
        view.release()
        return True

    def _open(self, path, mode="rb", **kwargs):
        self._may_fail(path)
        return super()._open(path, mode, **kwargs)

    def pipe_file(self, path, value, mode="overwrite", **kwargs):
        self._may_fail(path)
        return super().pipe_file(path, value, mode, **kwargs)

    def rm(self, path, recursive=False, maxdepth=None):
        self._may_fail(path)
        return super().rm(path, recursive, maxdepth)

    def _may_fail(self, path: str) -> None:
        if self.faults is not None and self.faults.strike("storage fails"):
            raise BrokenStorage(5, f"storage failed at {path}")


fsspec.register_implementation("sim", SimStorage, clobber=True)
