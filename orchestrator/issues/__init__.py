"""Reports of bad rows: of a file, since its upload, and of a job that failed over its files. Paged and downloadable.

May import: `orchestrator.db`, `orchestrator.lifecycle`, `orchestrator.paging`, `workers.contract`. No storage, no HTTP.

Invariants
- A report has at most `MAX_ISSUES` issues a file, and a list of files or jobs reads none of them.
- A report goes in the transaction that deletes its file; what a job reported of that file goes with it.
"""
