"""Which checkpoints are kept, and clearing away what jobs and files leave in storage.

May import: `orchestrator.db`, `orchestrator.jobs`, `orchestrator.files`, the workers' contract. No Ray, no torch.

Invariants
- A checkpoint's row is DELETING before its first byte goes, and DELETED after its last; whoever dies in between leaves
  a row that the next pass finishes. What is not COMMITTED is never offered for resuming.
- Never deleted: the newest K, the one a seat last verified by resuming from it, the best, those that were shared, and
  any while a new attempt is about to choose among them.
- What is deleted follows from rows. A listing only says what lies below a prefix that a row has condemned.
"""
