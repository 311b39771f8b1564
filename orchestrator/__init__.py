"""The orchestrator owns the database and every decision: which job runs where, when to retry, what to publish.

May import: `workers.contract`, `workers.actor` (the torch-free shell that Ray starts), SQLAlchemy, Ray, MLflow.
Never `api`, torch or transformers.

Rooms
- `db`: tables and sessions. `tenancy`: tenants and API keys. `files`: uploads and their validation; `uploads`: those
  that come in parts. `outages`: what is down, told from what is a bug.
- `catalogue`: the bases and flavors an operator offers. `jobs`: submission, queries and the one state machine.
- `scheduling`: snapshot -> `plan` (pure) -> actions. `cluster`: the port to hosts (Ray, in-process).
- `checkpoints`: which are kept, and clearing away what nobody needs. `leases`: who acts.
- `webhooks`: telling tenants that a job has ended. `usage`: the ledger of what was trained.
- `loops`: the steps that move jobs, each `run_once(now) -> Counts`. `registry`: publishing to MLflow.
- `embedded`: the whole stack as processes of one machine.

Invariants
- A job's state changes in `jobs.transition` and nowhere else, guarded by (id, state, attempt, lease token), with its
  event in the same transaction.
- No network call is made inside a database transaction.
- Users move `desired`; only the loops move `state`.
"""
