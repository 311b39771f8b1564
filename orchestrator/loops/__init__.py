"""The loops: small steps that move jobs and hosts towards what is wanted, each `run_once(now) -> Counts`.

May import: every room of the orchestrator. They talk to the cluster and the registry outside transactions.

One pass of the control loop runs, in this order: `validate`, `hosts` (start, poll, bury), `heed` (what
owners ask for), `seats` (stop, attach),
`schedule`, `sweep`. Publishing runs in a loop of its own, since it may wait for the registry.

Invariants
- Level-triggered: a step looks at rows and at the world, never at what the step before it did. A process killed
  between any two lines is made good by the next pass.
- Every step may be repeated. Anything told to a host is idempotent there.
- One row that cannot be read, and one host that answers nonsense, hold up no other.
- Durations: `loop_interval_s` x 3 <= `lease_ttl_s`.
"""
