"""`orchard`, the command line.

Purpose: what a tenant, an operator and a newcomer do most, over the HTTP API alone.
May import: httpx2, typer, rich, workers.contract (bounds of the job file). Only `up` and `doctor` may load
orchestrator.embedded, inside the command, so that `orchard --help` stays fast and needs no server parts.
Invariants: data goes to stdout, words to stderr; every failure is one line with a code and what to do; a key is
printed once, when it is made; exit codes (`exit_codes`) never change.
"""
