"""Hosts: rows and the cluster kept in step, and what hosts report written to the database.

May import: `orchestrator.bases`, `orchestrator.catalogue`, `orchestrator.checkpoints`, `orchestrator.cluster`,
`orchestrator.lifecycle`, `orchestrator.usage`, `workers.contract`.

- `reconcile` starts, polls and ends hosts; `seats` attaches and detaches jobs.
- `report_ingest` reads an answer, `reports` applies what seats report, `event_messages` words it.
- `failure_detector` judges silence, `stall_detector` answers without steps, `base_integrity` what a host found at its
  end; `reaper` writes the end down.

Invariants
- A report counts once: the transaction that moves the cursor applies it.
- UNKNOWN is never DEAD: a host that does not answer is ended first and written off after.
- The cluster is called outside any transaction, and each call is idempotent there.
"""
