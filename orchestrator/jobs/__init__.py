"""Jobs: submission, queries, and the state machine with its one door.

May import: `orchestrator.db`, `orchestrator.catalogue`, `orchestrator.files`, `orchestrator.tenancy`,
`orchestrator.registry.names`, `workers.contract`. No Ray, no MLflow, no HTTP.

Invariants
- `transition.transition` is the only code that writes `job.state`; illegal moves raise, stale ones change nothing.
- Terminal states absorb. Attempt numbers grow by one. A live attempt has one lease token.
- Submission loads (`standing`, `datasets`), decides (`resolve`) and writes the job with its first event in one
  transaction (`submit`). A POST that is repeated, by its Idempotency-Key or as OpenAI's clients repeat it, makes no
  second job (`repeats`).
- Of other tenants' jobs an owner learns counts (`why`) and nothing else; of their checkpoints, those it was let in to.
"""
