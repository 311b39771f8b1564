"""The other children of the stack: the MLflow server, the API and the orchestrator."""

import http.client
import sys
from pathlib import Path
from typing import Final

from orchestrator.embedded.child import ChildSpec
from orchestrator.embedded.ports import LOOPBACK

DRAIN_S: Final = 90
"""Longer than a step and its checkpoint; whoever is not through by then loses what came after its last checkpoint."""


def mlflow_server(home: Path, port: int) -> ChildSpec:
    """The tracking server and model registry: SQLite and artifacts below `home/mlflow`, one worker, no pickles."""
    folder = home / "mlflow"
    folder.mkdir(parents=True, exist_ok=True)
    argv = (
        *(sys.executable, "-m", "mlflow", "server", "--enable-workspaces", "--serve-artifacts", "--workers=1"),
        *(f"--host={LOOPBACK}", f"--port={port}"),
        *(f"--backend-store-uri=sqlite:///{folder / 'mlflow.sqlite'}",),
        *(f"--artifacts-destination={(folder / 'artifacts').as_uri()}",),
    )
    env = {
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # else it starts a job runner with processes of its own
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    return ChildSpec("mlflow", argv, lambda: answers(LOOPBACK, port, "/health"), env, awaits=_answer(port))


def api_server(env: dict[str, str], host: str, port: int) -> ChildSpec:
    """`python -m api.serve`, which reads `ORCHARD_*`."""
    probed = LOOPBACK if host in ("0.0.0.0", "::") else host  # noqa: S104  # asked for by the operator
    argv = (sys.executable, "-m", "api.serve")
    return ChildSpec("api", argv, lambda: answers(probed, port, "/healthz"), env, awaits=_answer(port))


def orchestrator_loop(env: dict[str, str], health_port: int) -> ChildSpec:
    """`python -m orchestrator`, which reads `ORCHARD_*`. Ready: its probes answer.

    Its hosts end with the stack, so it has their seats saved before it ends itself.
    """
    argv = (sys.executable, "-m", "orchestrator")
    own = {
        "ORCHARD_HEALTH_HOST": LOOPBACK,
        "ORCHARD_HEALTH_PORT": str(health_port),
        "ORCHARD_DRAIN_S": str(DRAIN_S),
    }
    return ChildSpec(
        "orchestrator",
        argv,
        lambda: answers(LOOPBACK, health_port, "/healthz"),
        {**env, **own},
        awaits=_answer(health_port),
        stop_grace_s=DRAIN_S + 15,
    )


def _answer(port: int) -> str:
    return f"an answer on port {port}"


def answers(host: str, port: int, path: str) -> bool:
    """Whether a GET of `path` gives 200."""
    connection = http.client.HTTPConnection(host, port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
