"""Leadership: of several orchestrators on one database, one acts and the others stand by.

May import: `orchestrator.db`, `orchestrator.steps`, `workers.contract`.

Invariants
- The lease of a role is judged by the database's clock alone, and taken, renewed and given back by compare-and-set. A
  new holder is a new term; terms grow.
- A holder believes in its lease no longer than the lease can last: counted from before the call that renewed it, on a
  monotonic clock.
- Belief is only for idling cheaply. What counts is the fence: every write of the role begins by finding its own term
  in the table, with a lock that keeps the next term out until it is committed. A holder that wakes up late writes
  nothing.
- Admission does not even rely on that: see `orchestrator.scheduling.admission`.
"""
