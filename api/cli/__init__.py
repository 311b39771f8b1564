"""`orchard`, the command line: what tenants and operators do most, over the HTTP API alone.

May import: httpx2, typer, rich, `workers.contract` (bounds of the job file). Only `up` and `doctor` may load
`orchestrator.embedded`, inside the command, so that `orchard --help` stays fast and needs no server parts.

Invariants
- Data goes to stdout, messages to stderr. Every failure is one line with a code and what to do.
- A key is printed once, when it is made.
- Exit codes (`exit_codes`) never change.
"""
