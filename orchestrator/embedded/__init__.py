"""The embedded stack: all of Orchard as processes of one machine, started, watched and stopped together.

May import: the standard library, psutil, structlog, `orchestrator.catalogue`, `orchestrator.db.migrate`. The other
rooms run as processes; nothing of them is imported.

Invariants
- One stack a home folder: a second one is refused while the first lives, and cleans up after one that crashed.
- Every process it starts, and every process those start, carries `ORCHARD_EMBEDDED_HOME`; `down` leaves none of them.
- Everything listens on loopback, except the API if told so. Ray asks for a token that only this user can read.
- A child that dies is restarted with a growing pause. Hosts outlive the orchestrator.
"""
