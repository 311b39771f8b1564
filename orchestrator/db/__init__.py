"""Tables and sessions: SQLite (WAL, `BEGIN IMMEDIATE`) embedded, PostgreSQL in production, one schema.

May import: SQLAlchemy, psycopg, `orchestrator.db.states` for the names of states. Rows never leave `orchestrator`.

Invariants
- Compare-and-set everywhere: SQLAlchemy drops `FOR UPDATE` on SQLite without a word.
- Every tenant-owned row carries `tenant_id`, and every query of one names it.
- `migrations/` builds the same schema as `Base.metadata` (tested on both databases).
"""
