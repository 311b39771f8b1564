"""The Ray head of the embedded stack: one node on loopback, with a token, no dashboard and a small object store."""

import json
import secrets
import shutil
import socket
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Final

from orchestrator.cluster.ray import split_resources
from orchestrator.embedded.child import ChildSpec
from orchestrator.embedded.ports import listens

OBJECT_STORE_BYTES: Final = 100_000_000  # hosts exchange small JSON only; Ray wants at least 75 MB
LONGEST_TEMP_DIR: Final = 38  # characters; Ray appends ~68 and a UNIX socket path may have 107


PATIENT: Final = {
    "RAY_NUM_REDIS_GET_RETRIES": "1200",  # about 1 s each, until its control store answers at the start; 20 by default
    "RAY_worker_register_timeout_seconds": "900",  # for a new worker's first word, 60 by default
    "RAY_health_check_failure_threshold": "60",  # missed answers of a node in a row, each of some 10 s; 5 by default
}
"""On a busy machine Ray would else take slow for dead: its node, and with it every host, or a host that starts. On one
machine nothing could take their place."""


@dataclass(frozen=True)
class RayPorts:
    """Ports that Ray would else take by fixed number."""

    head: int
    client: int
    agent: int


def ray_environment(token: Path) -> dict[str, str]:
    """For the head and for every driver. The last entry keeps a one-machine cluster on 127.0.0.1."""
    return {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    }


def write_token(path: Path) -> Path:
    """A fresh secret that only this user can read; an existing one is kept."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.write_text(secrets.token_hex(32))
    return path


def make_temp_dir(home: Path) -> Path:
    """Ray's own folder, emptied: `home/ray`, or a short folder that `home/ray` points to when that path is too long."""
    folder = home / "ray"
    remove_temp_dir(home)
    if len(str(folder)) <= LONGEST_TEMP_DIR:
        folder.mkdir(parents=True)
        return folder
    short = Path(tempfile.mkdtemp(prefix="orchard-", dir=_short_parent()))
    folder.symlink_to(short)
    return short


def remove_temp_dir(home: Path) -> None:
    """Remove `home/ray` and what it points to."""
    folder = home / "ray"
    if folder.is_symlink():
        shutil.rmtree(folder.resolve(), ignore_errors=True)
        folder.unlink()
    shutil.rmtree(folder, ignore_errors=True)


def _short_parent() -> str | None:
    default = tempfile.gettempdir()
    return default if len(default) + len("/orchard-12345678") <= LONGEST_TEMP_DIR else "/tmp"  # noqa: S108


def ray_head(temp_dir: Path, token: Path, ports: RayPorts, resources: Mapping[str, float]) -> ChildSpec:
    """`ray start --head --block`. Killed without grace: hosts lose nothing that is committed, SIGTERM takes 15 s.

    `resources`: what its hosts may take together. A host that was told to end and hangs keeps its share for the
    5 seconds that Ray waits before it kills, so that the next one starts when the device is really free.
    """
    cpus, gpus, custom = split_resources(resources)
    argv = (
        *(sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block"),
        *("--node-ip-address=127.0.0.1", f"--port={ports.head}", f"--temp-dir={temp_dir}"),
        *(f"--num-cpus={ceil(cpus)}", f"--num-gpus={ceil(gpus)}", f"--resources={json.dumps(custom)}"),
        f"--object-store-memory={OBJECT_STORE_BYTES}",
        *("--include-dashboard=false", "--include-log-monitor=false", "--no-monitor", "--disable-usage-stats"),
        *(f"--ray-client-server-port={ports.client}", f"--dashboard-agent-listen-port={ports.agent}"),
        *("--min-worker-port=0", "--max-worker-port=0"),
    )

    def ready() -> bool:
        return listens(ports.head) and raylet_socket(temp_dir)

    return ChildSpec(
        name="ray",
        argv=argv,
        env={**ray_environment(token), **PATIENT},
        ready=ready,
        awaits=f"connections on port {ports.head} and at the raylet's socket",
        stop_grace_s=0,
    )


def raylet_socket(temp_dir: Path) -> bool:
    """Whether the raylet of the newest session accepts drivers."""
    path = temp_dir / "session_latest" / "sockets" / "raylet"
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0
