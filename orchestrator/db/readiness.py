"""Whether the database is usable."""

from pydantic import BaseModel, Field
from sqlalchemy.exc import SQLAlchemyError

from orchestrator.db.database import Database
from orchestrator.db.migrate import is_current


class Readiness(BaseModel):
    """The parts of readiness."""

    ready: bool
    database: bool = Field(description="it answers")
    schema_current: bool = Field(description="it is at the newest revision; if not, run the migrations")


def readiness(db: Database) -> Readiness:
    """Check the database. Never raises."""
    try:
        current = is_current(db.engine)
    except SQLAlchemyError:
        return Readiness(ready=False, database=False, schema_current=False)
    return Readiness(ready=current, database=True, schema_current=current)
