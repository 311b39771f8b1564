"""The fault catalogue: what is done to the system, and what must hold. `make faults` runs all of it.

Every test is named by its fault, `test_f01_…`, and proves that the fault struck: a failpoint leaves a line in a log, a
signal a changed process, a lost connection a count. Three layers, from cheap to dear:

- `test_decisions.py` and others without a mark: the loops, the API and storage in this process, over both databases.
- `test_workers.py`: real worker processes that train the tiny base and are killed; no control plane.
- `test_live_*.py`: the embedded stack with real processes, one stack for each database.

`make test` runs the first layer; `python -m tests.faults` all of them.
"""
