"""The simulator: the orchestrator's own loops over virtual time, with faults drawn from a seed.

`python -m tests.simulation --seeds 10000` runs schedules and ends with one JSON line; a failing seed is printed and
`--seed N` repeats it step by step. A schedule has two parts. In the storm tenants submit, cancel, pause and resume
while every kind of fault strikes at 1-5 %: calls and answers are lost or doubled, hosts die, hang or answer nonsense,
storage and the registry fail, bytes rot, transactions fail before or after their commit, and the orchestrator or the
API dies at any failpoint. Another orchestrator may take whole passes while one stands still at a failpoint. After every
pass the invariants are checked (safety). Then the faults stop, and every job has to end (liveness).

Real: the loops, the planner, the state machine, submission, publishing, SQL on SQLite. Simulated: time, the cluster and
its hosts, storage, the registry, ids.
"""
