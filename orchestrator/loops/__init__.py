"""The loops: which steps an orchestrator runs, in which order, and the threads that repeat them.

May import: every room of the orchestrator. `composition` names the steps of each loop, `runner` repeats them, and
`health` tells over HTTP whether they are repeated.

One pass of the control loop runs, in this order: `ReconcileHosts`, `ReconcileDesired`, `StopSeats`, `AttachSeats`,
`Schedule`, `EnforceDeadlines`. What may wait for storage, the registry or a tenant's server runs in loops of its own.
To add one, see "How to add a loop (step)" in ARCHITECTURE.md.

Invariants
- Level-triggered: a step looks at rows and at the world, never at what the step before it did. The next pass completes
  the work of a process killed between any two lines.
- Every step may be repeated.
- One row that cannot be read, and one host that answers nonsense, delay no other.
- A step reads what it asks the cluster about before it asks, and writes only what was true then.
- Durations: `loop_interval_s` x 3 <= `lease_ttl_s`; `lease_ttl_s` + `role_ttl_s` <= `orchestrator_timeout_s`.
"""
