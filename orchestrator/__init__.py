"""The orchestrator owns the database and every decision: which job runs where, when to retry, what to publish.

May import: `workers.contract`, `workers.actor` (the torch-free shell that Ray starts), SQLAlchemy, Ray, MLflow.
Never `api`, torch or transformers.

Rooms, bottom up; import-linter holds the order (pyproject.toml)
- `db`: tables, states, sessions. `storage`: objects and their paths. `steps`: what a step of a loop is.
- `catalogue`: the bases and flavors an operator offers. `tenancy`: tenants and API keys. `cluster`: the port to hosts.
- `leadership`: which orchestrator acts. `usage`: the ledger of what was trained. `webhooks`: deliveries to tenants.
- `lifecycle`: the one state machine, attempts, retries, deadlines. `checkpoints`: which are kept; deleting the rest.
- `files`: uploads and their validation; `uploads`: those that come in parts. `queries`: jobs as their owners see them.
- `artifacts`: tuned models, archives, results. `submission`: from a request to a job. `registry`: publishing to MLflow.
- `scheduling`: snapshot -> `plan` (pure) -> actions. `hosts`: host rows and the cluster kept in step.
- `loops`: which steps run in which loop, each `run_once(now) -> Counts`. `embedded`: the whole stack on one machine.

Invariants
- A job's state changes in `lifecycle.transition` and nowhere else, guarded by (id, state, attempt, lease token), with
  its event in the same transaction.
- No network call is made inside a database transaction.
- Users change `desired`; only the loops change `state`.
"""
