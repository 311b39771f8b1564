"""Files that arrive in parts: announced, sent piece by piece, then completed into one validated file, or dropped.

May import: `orchestrator.db`, `orchestrator.files`, `orchestrator.steps`, `orchestrator.storage`,
`orchestrator.tenancy`. No HTTP.

Invariants
- Bytes are written before the row that names them. A part counts once its row is there.
- Completing reads the parts through the same validation as a plain upload; the file's row and the upload's new status
  are one transaction, so two completions at once make one file.
- What an upload may hold is bounded: declared bytes, parts, and uploads pending at once.
- An upload lives for `LIFETIME`. Every trace of it in storage is removed `GRACE` after that, whatever became of it.
"""
