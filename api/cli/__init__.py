"""`orchard`, the command line: what tenants and operators do most, over the HTTP API.

Four commands work on a server's own machine without it: `up`, `db`, `catalogue` and `keys create-admin`.
May import: httpx2, typer, rich, `workers.contract` (bounds of the job file), `orchestrator.characters`. What else of
`orchestrator` those four and `doctor` need, they load inside the command, so that `orchard --help` stays fast and needs
no server parts.

Invariants
- Data goes to stdout, messages to stderr. Every failure is one line with a code and what to do.
- A key is printed once, when it is made.
- Exit codes (`errors.ExitCode`) never change.
"""
