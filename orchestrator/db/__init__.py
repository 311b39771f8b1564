"""Tables and sessions: SQLite (WAL, `BEGIN IMMEDIATE`) embedded, PostgreSQL in production, one schema.

May import: SQLAlchemy, psycopg, `workers.contract` (bounds). Rows never leave `orchestrator`.

Invariants
- Compare-and-set everywhere: SQLAlchemy silently drops `FOR UPDATE` on SQLite.
- Every tenant-owned row carries `tenant_id`, and every query of one names it.
- `migrations/` builds the same schema as `Base.metadata` (tested on both databases).
"""
