"""The cluster port: how the orchestrator starts, finds, polls and ends hosts.

May import: `workers.contract`, `workers.actor`, Ray (in `cluster.ray` only). No database.

Invariants
- Calls are idempotent by host id; a host is found again by its name after the orchestrator restarts.
- UNKNOWN is not DEAD: `HostUnreachable` says that nothing was learned, `HostGone` that the host is dead for certain.
- Every implementation passes `tests/conformance/test_cluster.py`.
"""
