"""The loops: small steps that move jobs and hosts towards what is wanted, each `run_once(now) -> Counts`.

May import: every room of the orchestrator. They talk to the cluster and the registry outside transactions.

One pass of the control loop runs, in this order: `hosts` (start, poll, retire, bury), `heed` (what owners ask for),
`seats` (stop, attach), `schedule`, `sweep`. What may wait for storage, the registry or a tenant's server runs in loops
of its own: validating, publishing, webhooks, housekeeping. `lead` lets all of them rest while another process acts.

Of hosts: `intake` reads answers, `silence` judges none, `progress` judges answers without steps, `integrity` what is
found at the end, `burial` writes the end down.

Invariants
- Level-triggered: a step looks at rows and at the world, never at what the step before it did. A process killed
  between any two lines is made good by the next pass.
- Every step may be repeated. Anything told to a host is idempotent there.
- One row that cannot be read, and one host that answers nonsense, hold up no other.
- A step reads what it asks the cluster about before it asks, and writes only what was true then.
- Durations: `loop_interval_s` x 3 <= `lease_ttl_s`; `lease_ttl_s` + `role_ttl_s` <= `host_trust_s`.
"""
