"""Files of tenants: streamed into storage, every line checked on the way, listed, read and deleted.

May import: `orchestrator.db`, `orchestrator.tenancy`, `workers.contract.rows`, fsspec. No HTTP.

Invariants
- A file is never whole in memory, and neither is a line longer than `MAX_LINE_BYTES`.
- Bytes are written before the row that speaks of them, and removed after it is marked deleted: a crash leaves bytes
  without a row, never a row without bytes.
- A path is built from ids that we made; the tenant's file name is a label and never a path.
"""
