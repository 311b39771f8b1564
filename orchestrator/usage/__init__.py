"""Usage: what each tenant's jobs trained, minute by minute, and what of it may be billed.

May import: `orchestrator.db`, `workers.contract`.

`meter` writes the ledger in the transactions that apply a host's reports and end attempts; `queries` sums it up.

Invariants
- A report counts once. The ledger and the host's cursor move in one transaction, and a step that the ledger has
  passed for its attempt is not entered again.
- What an attempt trained after its newest committed checkpoint is marked as lost when the attempt ends through the
  service's fault, and more of it when the next attempt has to resume from an older one. That is decided then, not when
  usage is queried: checkpoints are pruned, bills are not. So no step of a job is billed twice.
- Rows are never removed, and `lost_*` never exceeds what it is a part of (the schema's CHECKs).
"""
