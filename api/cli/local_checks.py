"""Checks of `orchard doctor` for a stack that `orchard up` runs on this machine."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import psutil

from api.cli.errors import Check, CheckResult
from api.cli.settings import CATALOGUE

SERVING = frozenset({"ray", "mlflow", "api", "orchestrator"})


def check_local_stack(home: Path) -> list[Check]:
    """One finding for each child of the stack in `home`, or a single one if none runs there."""
    roll = home / "run" / "children.json"
    try:
        pids = {str(name): int(entry["pid"]) for name, entry in json.loads(roll.read_text(encoding="utf-8")).items()}
    except FileNotFoundError:
        return [Check("local stack", CheckResult.NOTE, f"none runs in {home}", "orchard up, to run one here")]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return [
            Check("local stack", CheckResult.BAD, f"{roll} cannot be read: {error}", "end the stack and start it again")
        ]
    return [_check_child(name, pid, home) for name, pid in pids.items()]


def check_catalogue(home: Path) -> Iterator[Check]:
    """The catalogue that a server of this machine reads, if one is known."""
    from orchestrator.catalogue import file
    from orchestrator.catalogue.document import CatalogueError

    path = Path(os.environ.get(CATALOGUE) or home / "catalogue.yaml")
    if not path.exists():
        return
    try:
        bases = [base.id for base in file.check_catalogue(path).bases]
    except CatalogueError as error:
        todo = "orchard catalogue check lists them all"
        yield Check("catalogue", CheckResult.BAD, f"{str(error).splitlines()[0]} (of {len(error.findings)})", todo)
        return
    yield Check("catalogue", CheckResult.OK, f"{path} offers {', '.join(bases)}")


def _check_child(name: str, pid: int, home: Path) -> Check:
    log = f"look at {home / 'logs' / f'{name}.log'}"
    if not psutil.pid_exists(pid):
        return Check(f"local {name}", CheckResult.BAD, f"process {pid} is gone", f"{log}; orchard up starts all again")
    if name in SERVING and not _serves(pid):
        return Check(f"local {name}", CheckResult.BAD, f"process {pid} accepts no connections", log)
    return Check(f"local {name}", CheckResult.OK, f"process {pid} runs")


def _serves(pid: int) -> bool:
    """Whether the process or one of its children accepts connections."""
    from orchestrator.embedded.ports import listens

    try:
        leader = psutil.Process(pid)
        family = [leader, *leader.children(recursive=True)]
        connections = [each for member in family for each in member.net_connections("inet")]
    except psutil.Error:
        return False
    return any(listens(each.laddr.port) for each in connections if each.status == psutil.CONN_LISTEN)
