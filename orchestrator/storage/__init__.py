"""Storage: reading, writing, listing and removing objects, and where each of them lies.

May import: `orchestrator.errors`, `orchestrator.outages`, fsspec. No database.

Invariants
- No other room of the control plane speaks fsspec: time-outs, retries and the mapping of errors are set here, once.
- A write is durable when it returns.
- Paths are built from ids that the service made.
"""
