"""Failpoints: free when off, once when on, never without proof; and every one there is has a test that fires it."""

import ast
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from workers.contract.failpoints import FAILPOINTS, FailpointError, Plan, failpoint, hooked

ROOT = Path(__file__).parents[2]
PASS_TWICE = (
    "from workers.contract.failpoints import failpoint as f\nf('publish.fetched'); f('publish.fetched'); print(1)"
)


def run(program: str, **env: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT)} | env
    return subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)


def test_a_failpoint_that_nobody_armed_does_nothing():
    failpoint("publish.fetched")


def test_a_process_dies_at_the_armed_place_and_leaves_proof(tmp_path: Path):
    log = tmp_path / "log"
    died = run(PASS_TWICE, ORCHARD_FAIL="publish.fetched:kill9", ORCHARD_FAIL_LOG=str(log))
    assert died.returncode == -signal.SIGKILL
    assert re.fullmatch(r"publish\.fetched \d+\n", log.read_text())


@pytest.mark.parametrize(("count", "ends"), [(1, -9), (2, -9), (3, 0)])
def test_a_number_says_which_pass_of_the_place_acts(count: int, ends: int):
    assert run(PASS_TWICE, ORCHARD_FAIL=f"publish.fetched:kill9@{count}").returncode == ends


def test_a_folder_arms_a_running_process_and_is_disarmed_by_the_first_that_acts(tmp_path: Path):
    plan = Plan(f"@{tmp_path}", tmp_path / "log")
    plan("publish.fetched", None)
    (tmp_path / "publish.fetched").write_text("raise")
    with pytest.raises(FailpointError):
        plan("publish.fetched", None)
    plan("publish.fetched", None)
    assert (tmp_path / "log").read_text() == f"publish.fetched {os.getpid()}\n"


def test_each_armed_place_acts_once():
    plan = Plan("publish.fetched:raise@2; publish.result:sleep=0")
    plan("publish.fetched", None)
    with pytest.raises(FailpointError):
        plan("publish.fetched", None)
    for _ in range(3):
        plan("publish.fetched", None)
        plan("publish.result", None)


def test_partial_cuts_the_file_to_half_and_kills(tmp_path: Path):
    file = tmp_path / "weights"
    file.write_bytes(bytes(100))
    program = f"from pathlib import Path\nfrom workers.contract.failpoints import failpoint\n\
failpoint('storage.file', Path({str(file)!r}))"
    assert run(program, ORCHARD_FAIL="storage.file:partial").returncode == -signal.SIGKILL
    assert file.stat().st_size == 50


@pytest.mark.parametrize("text", ["nowhere:kill9", "publish.fetched:explode", "publish.fetched:sleep=long"])
def test_what_does_not_exist_is_refused_at_the_start(text: str):
    with pytest.raises(ValueError, match=r"nowhere|explode|long"):
        Plan(text)


def test_a_test_may_fail_in_its_own_way():
    passed: list[str] = []
    with hooked(lambda name, _path: passed.append(name)):
        failpoint("publish.fetched")
    failpoint("publish.result")
    assert passed == ["publish.fetched"]


def test_every_place_in_the_code_is_listed_and_every_listed_place_is_in_the_code():
    assert placed() == set(FAILPOINTS)


def test_every_failpoint_is_fired_by_a_test_of_the_catalogue():
    tests = "".join(path.read_text() for path in (ROOT / "tests" / "faults").rglob("*.py"))
    assert {name for name in FAILPOINTS if f'"{name}' not in tests} == set()


def placed() -> set[str]:
    """Names given to `failpoint(…)` anywhere in the product."""
    names = set()
    for room in ("api", "orchestrator", "workers"):
        for path in (ROOT / room).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call) and getattr(node.func, "id", None) == "failpoint":
                    assert isinstance(node.args[0], ast.Constant), f"{path}: a failpoint's name is a literal"
                    names.add(node.args[0].value)
    return names
