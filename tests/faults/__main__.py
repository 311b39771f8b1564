"""`python -m tests.faults`: the whole catalogue on both databases; ends with one JSON line, code 1 on a failure.

What was skipped is named there: a fault that the database cannot have, or that this user may not inject.
"""

import json
import os
import re
import sys
import time

import pytest

from tests.faults.catalogue import CATALOGUE

FAULT = re.compile(r"test_(f\d\d)_")


class Tally:
    """What became of every test, and of the fault it is named by."""

    def __init__(self) -> None:
        self.outcomes: dict[str, str] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """A test counts as its worst phase."""
        if report.when == "call" or report.outcome != "passed":
            self.outcomes[report.nodeid] = report.outcome
        if report.failed:
            print(f"\n{report.nodeid}\n{report.longreprtext[-4_000:]}", file=sys.stderr, flush=True)


def main() -> None:
    """Further arguments go to pytest, for example `-k f14`."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    tally, began, chosen = Tally(), time.monotonic(), sys.argv[1:]
    pytest.main(["tests/faults", "--all-faults", "-q", *chosen], plugins=[tally])
    passed = [node for node, outcome in tally.outcomes.items() if outcome == "passed"]
    covered = {match[1] for node in passed if (match := FAULT.search(node))}
    missing = [] if chosen else sorted(CATALOGUE.keys() - covered)
    skipped = [node for node, outcome in tally.outcomes.items() if outcome == "skipped"]
    failed = sorted(tally.outcomes.keys() - {*passed, *skipped}) + missing
    summary = {"run": len(tally.outcomes) - len(skipped), "passed": len(passed), "failed": failed, "skipped": skipped}
    print(json.dumps(summary | {"faults": len(covered), "seconds": round(time.monotonic() - began, 1)}))
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
