"""`python -m api.demo [--home FOLDER]`: exit code 0 when every job succeeded."""

import argparse
import logging
import signal
import sys
from pathlib import Path
from types import FrameType

import structlog
from rich.console import Console

from api.cli.errors import CliError
from api.demo.answers import SamplingFailed
from api.demo.progress import OutOfTime
from api.demo.run import run
from orchestrator.embedded.child import ChildFailed
from orchestrator.embedded.stack import PortTaken, StackRunning
from orchestrator.logs import configure_logs


def main() -> None:
    """Run the demo. On any exit, its processes are stopped."""
    parser = argparse.ArgumentParser(prog="python -m api.demo", description="Three tenants fine-tune one real base.")
    parser.add_argument("--home", type=Path, default=Path(".orchard"), help="folder of the demo's stack")
    options = parser.parse_args()
    configure_logs()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    signal.signal(signal.SIGTERM, _end)
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 160)
    try:
        succeeded = run(options.home, console)
    except (ChildFailed, StackRunning, PortTaken, OutOfTime, SamplingFailed, CliError, ImportError) as error:
        sys.exit(f"The demo could not finish: {error}")
    sys.exit(0 if succeeded else 1)


def _end(number: int, _: FrameType | None) -> None:
    sys.exit(128 + number)


if __name__ == "__main__":
    main()
