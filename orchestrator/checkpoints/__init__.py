"""Which checkpoints are kept, and deleting what jobs leave in storage.

May import: `orchestrator.db`, `orchestrator.steps`, `orchestrator.storage`, `workers.contract`. No Ray, no torch.

- `retention` decides (`superseded`, pure) and marks; `gc` deletes what is marked; `attempt_gc` finds what dead attempts
  left; `states` has the moves of a checkpoint's row.

Invariants
- A checkpoint's row is DELETING before its first byte goes, and DELETED after its last. A process that dies in between
  leaves a row that the next pass finishes. What is not COMMITTED is never offered for resuming.
- Never deleted: the newest K, the one a seat last verified by resuming from it, the best, those that were shared, and
  any while a new attempt is about to choose among them.
- What is deleted follows from rows. A listing only says what lies below a prefix whose row is marked for deletion.
"""
