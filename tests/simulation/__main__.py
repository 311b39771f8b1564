"""`python -m tests.simulation --seeds 10000`: run schedules, end with one JSON line; exit code 1 on a violation."""

import argparse
import gc
import json
import os
import sys
import time
from collections import Counter
from multiprocessing import Pool

from tests.simulation.schedule import Result, run_schedule


def main() -> None:
    """Run the seeds from `--first` upwards on every core."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=200, help="how many schedules")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--seed", type=int, help="run only this seed and print what happened")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    options = parser.parse_args()
    if options.seed is not None:
        result = run_schedule(options.seed)
        print("\n".join(result.trace))
        print(result.violation or "no violation", dict(result.faults))
        sys.exit(result.violation is not None)
    began = time.monotonic()
    summary = summarize(run_many(range(options.first, options.first + options.seeds), options.processes))
    print(json.dumps(summary | {"seconds": round(time.monotonic() - began, 1)}))
    sys.exit(bool(summary["violations"]))


def run_many(seeds: range, processes: int | None) -> list[Result]:
    """The results of all seeds. Violations are printed as they occur."""
    results = []
    with Pool(processes, initializer=gc.freeze) as pool:
        for result in pool.imap_unordered(_run, seeds, chunksize=10):
            results.append(result)
            if result.violation:
                print(f"seed {result.seed}: {result.violation}", file=sys.stderr, flush=True)
    return results


def summarize(results: list[Result]) -> dict[str, object]:
    """The line to print."""
    faults: Counter[str] = sum((result.faults for result in results), Counter())
    failed = sorted(result.seed for result in results if result.violation)
    return {
        "schedules": len(results),
        "jobs": sum(result.jobs for result in results),
        "faults": sum(faults.values()),
        "by_kind": dict(sorted(faults.items())),
        "violations": len(failed),
        "failed_seeds": failed[:20],
    }


def _run(seed: int) -> Result:
    result = run_schedule(seed)
    return result if result.violation else Result(seed, None, result.faults, result.jobs, [])


if __name__ == "__main__":
    main()
