"""The life of a job: its state machine with one door, its attempts and their ends, its history.

May import: `orchestrator.db`, `orchestrator.steps`, `orchestrator.tenancy`, `orchestrator.usage`,
`orchestrator.webhooks` (an end enqueues its deliveries in the same transaction), `workers.contract`. No Ray, no MLflow,
no HTTP.

- `transition` is the door; `events` the history; `attempts` the seats of a job, one after the other; `retry_policy`
  (pure) decides what follows an end.
- `turns` says which tenant is next for a seat.
- `desired` writes what a tenant wants, `reconcile_desired` moves jobs there, `deadlines` acts on states that last too
  long.
- `suspension` suspends a tenant with its jobs; `drain` empties the seats and ends the hosts for a planned stop.
- `invariants` says what must hold of the rows, whatever dies.

Invariants
- `transition.transition` is the only code that writes `job.state`; illegal moves raise, stale ones change nothing.
- Terminal states absorb. Attempt numbers grow by one. A live attempt has one lease token.
"""
