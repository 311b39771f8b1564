"""`python -m tests.bench.control [--engines sqlite,postgresql] [--only submit,depth,...] [--live] --json`."""

import argparse
import json
import logging
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import structlog

from orchestrator.db.database import Database
from tests.bench.control.databases import ENGINES, durability, fresh_database
from tests.bench.control.passes import claim_figures, depth_figures, running_figures
from tests.bench.control.submits import submit_figures
from tests.bench.control.targets import judge
from tests.bench.processor import describe_box, load_average

PARTS: Final = ("submit", "claims", "depth", "running")


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Measure, print, and return what was printed."""
    given = _parser().parse_args(arguments)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    with redirect_stdout(sys.stderr):
        report: dict[str, Any] = {"machine": describe_box() | _versions(), "engines": {}}
        for engine in given.engines:
            report["engines"][engine] = _measure(engine, given)
        if given.live:
            from tests.bench.control.live import live_figures

            report["live"] = live_figures(given.live_jobs)
        report["targets"] = judge(report)
    print(json.dumps(report, indent=1) if given.json else _table(report))
    return report


def _measure(engine: str, given: argparse.Namespace) -> dict[str, Any]:
    """Each part on a database of its own."""
    parts: dict[str, Callable[[str, Path], dict[str, Any]]] = {
        "submit": lambda url, folder: submit_figures(url, folder, given.seconds),
        "claims": lambda url, _: claim_figures(url, given.claims),
        "depth": lambda url, _: _depth(engine, url, given),
        "running": lambda url, _: running_figures(url, given.running, given.repeats),
    }
    figures: dict[str, Any] = {}
    for part in given.only:
        print(f"{engine}: {part}", file=sys.stderr, flush=True)
        with fresh_database(engine) as url, tempfile.TemporaryDirectory(prefix="orchard-bench-") as folder:
            db = Database(url)
            figures["database"] = durability(db)
            db.dispose()
            figures[part] = parts[part](url, Path(folder)) | {"load_average_after": load_average()}
    return figures


def _depth(engine: str, url: str, given: argparse.Namespace) -> dict[str, Any]:
    with fresh_database(engine) as other:
        return depth_figures(url, other, given.queued, given.finished, given.repeats, given.tenants)


def _versions() -> dict[str, Any]:
    return {"versions": {library: version(library) for library in ("sqlalchemy", "psycopg", "fastapi", "uvicorn")}}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.control", description=__doc__)
    parser.add_argument("--engines", type=_chosen(ENGINES), default=ENGINES, help=",".join(ENGINES))
    parser.add_argument("--only", type=_chosen(PARTS), default=PARTS, help=",".join(PARTS))
    parser.add_argument("--seconds", type=float, default=10.0, help="of each load of submissions")
    parser.add_argument("--claims", type=int, default=500, help="jobs to give a seat")
    parser.add_argument("--queued", type=int, default=100_000)
    parser.add_argument("--tenants", type=int, default=1, help="whose jobs are queued")
    parser.add_argument("--finished", type=int, default=1_000_000)
    parser.add_argument("--running", type=int, default=500, help="jobs that train")
    parser.add_argument("--repeats", type=int, default=100, help="passes to time")
    parser.add_argument("--live", action="store_true", help="also submission to first step; starts the whole stack")
    parser.add_argument("--live-jobs", type=int, default=15)
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    return parser


def _chosen(known: Sequence[str]) -> Callable[[str], tuple[str, ...]]:
    def chosen(text: str) -> tuple[str, ...]:
        names = tuple(text.split(","))
        if unknown := [name for name in names if name not in known]:
            raise argparse.ArgumentTypeError(f"{unknown[0]!r} is none of {', '.join(known)}")
        return names

    return chosen


def _table(report: dict[str, Any]) -> str:
    lines = [f"{'target':34} {'bound':>9} {'measured':>9}"]
    lines += [
        f"{name:34} {target['bound']:>9} {target['measured']:>9} {'met' if target['met'] else 'MISSED'}"
        for name, target in report["targets"].items()
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
