"""Which tests share a process when two run the suite (`pytest -n 2 --dist loadgroup`).

By path, through a scheduler of our own: pytest-xdist 3.8 writes its groups where pytest 9.2 no longer reads them, so
the mark `xdist_group` does nothing.
"""

from typing import Final

from xdist.scheduler import LoadScopeScheduling

GROUPS: Final = {
    # What starts a Ray head or a stack, or finds processes of any parent: beside each other they would interfere.
    "machine": (
        "tests/acceptance/",
        "tests/conformance/test_cluster.py",
        "tests/integration/test_ray_cluster.py",
        "tests/faults/test_live_",
        "tests/faults/test_workers.py",  # hosts: each ends, machine-wide, the children that a dead host left
        "tests/faults/test_left_behind.py",  # likewise
        "tests/training/test_actor.py",
        "tests/unit/test_orphans.py",
        "tests/unit/test_bench_control.py",
        "tests/unit/test_groups.py",  # runs tests of this group itself
    ),
    # One server for all: it takes long to start.
    "mlflow": (
        "tests/integration/test_registry_load.py",
        "tests/integration/test_registry_pages.py",
        "tests/integration/test_registry_publish.py",
        "tests/integration/test_unpublish.py",
    ),
    # The last tests look at what the first have left.
    "simulation": ("tests/simulation/",),
    "equivalence": ("tests/training/test_fused_equivalence.py",),
}


def group_of(nodeid: str) -> str:
    """The group of a test; its own id when it may run anywhere."""
    return next((group for group, paths in GROUPS.items() if nodeid.startswith(paths)), nodeid)


class ByGroup(LoadScopeScheduling):
    """Gives every group to one process, the largest first, and all else to whichever is free."""

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid)
