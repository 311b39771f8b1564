"""Hosts: rows and the cluster kept in step, and what hosts report brought into the books.

May import: `orchestrator.cluster`, `orchestrator.lifecycle`, `orchestrator.checkpoints`, `workers.contract`.

- `reconcile` starts, polls and ends hosts; `seats` attaches and detaches jobs.
- `report_ingest` reads an answer, `reports` applies what seats say, `event_messages` words it.
- `failure_detector` judges silence, `stall_detector` answers without steps, `base_integrity` what a host found at its
  end; `reaper` writes the end down.

Invariants
- A report counts once: whoever moves the cursor applies it, in the same transaction.
- UNKNOWN is never DEAD: a host that does not answer is ended first and written off after.
- What is asked of the cluster is asked outside any transaction, and is idempotent there.
"""
