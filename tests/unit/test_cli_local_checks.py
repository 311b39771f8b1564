import json
import os
import socket

import pytest

from api.cli.errors import CheckResult
from api.cli.local_checks import check_local_stack


def roll(home, **pids):
    (home / "run").mkdir()
    (home / "run/children.json").write_text(
        json.dumps({name: {"pid": pid, "created": 0} for name, pid in pids.items()})
    )


def test_no_stack_is_no_failure(tmp_path):
    [check] = check_local_stack(tmp_path)
    assert check.verdict is CheckResult.NOTE


def test_a_child_that_is_gone_is_bad_and_its_log_is_named(tmp_path):
    roll(tmp_path, mlflow=2**22 + 1)
    [check] = check_local_stack(tmp_path)
    assert check.verdict is CheckResult.BAD
    assert "mlflow.log" in check.todo


def test_a_living_child_that_accepts_connections_is_well(tmp_path):
    with socket.create_server(("127.0.0.1", 0)):
        roll(tmp_path, ray=os.getpid(), orchestrator=os.getpid())
        assert [check.verdict for check in check_local_stack(tmp_path)] == [CheckResult.OK, CheckResult.OK]


@pytest.mark.parametrize("text", ["", "[]", '{"ray": 1}'])
def test_a_broken_roll_is_bad(tmp_path, text):
    (tmp_path / "run").mkdir()
    (tmp_path / "run/children.json").write_text(text)
    [check] = check_local_stack(tmp_path)
    assert check.verdict is CheckResult.BAD
