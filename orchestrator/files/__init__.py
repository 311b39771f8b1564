"""Files of tenants: streamed into storage, every line checked on the way, listed, read and deleted.

May import: `orchestrator.db`, `orchestrator.steps`, `orchestrator.storage`, `orchestrator.tenancy`, `workers.contract`.
No HTTP.

Invariants
- A file is never whole in memory, nor is a line longer than `MAX_ROW_BYTES`.
- Bytes are written before the row that names them, and removed after it is marked deleted: a crash leaves bytes
  without a row, never a row without bytes.
- A path is built from ids that the service made; the tenant's file name is a label and never a path.
"""
