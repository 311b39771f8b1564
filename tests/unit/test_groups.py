"""Two processes run the suite, and what belongs together stays in one."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.groups import GROUPS, group_of

ROOT = Path(__file__).parents[2]


def test_every_path_of_a_group_leads_to_tests():
    paths = [path for group in GROUPS.values() for path in group]
    assert all(list(ROOT.glob(f"{path}*")) for path in paths)


def test_a_group_is_known_by_the_path_and_others_go_anywhere():
    assert group_of("tests/acceptance/test_demo.py::test_x") == "machine"
    assert group_of("tests/unit/test_plan.py::test_x[a@b]") == "tests/unit/test_plan.py::test_x[a@b]"


@pytest.mark.slow
def test_the_plugin_gives_a_group_to_one_process():
    arguments = ["tests/unit/test_orphans.py", "-v", "-n", "2", "--dist", "loadgroup", "-p", "no:cacheprovider"]
    command = [sys.executable, "-m", "pytest", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    lines = [line for line in done.stdout.splitlines() if "PASSED" in line]
    assert len(lines) > 2, done.stdout
    assert len({line.split("]")[0] for line in lines}) == 1
