"""Alembic's entry point: runs the migrations on the connection that `orchestrator.db.migrate` passes in."""

from alembic import context

import orchestrator.db.effect_tables
import orchestrator.db.encoding_tables
import orchestrator.db.job_tables
import orchestrator.db.tables
import orchestrator.db.upload_tables  # noqa: F401  # all of them fill Base.metadata
from orchestrator.db.columns import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    render_as_batch=True,  # SQLite alters a table by copying it
    compare_type=True,
)
with context.begin_transaction():
    context.run_migrations()
