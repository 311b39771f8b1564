"""Alembic migrations. May import `orchestrator.db` only. The newest revision equals `Base.metadata` (tested)."""
