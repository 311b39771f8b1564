"""Publishing finished adapters to MLflow's registry, without torch.

May import: `orchestrator.artifacts`, `orchestrator.catalogue`, `orchestrator.lifecycle`, `orchestrator.storage`,
`workers.contract`, MLflow's client (lazily: importing this package must stay cheap).

- `port` says what is published and through which interface; `mlflow_registry` does it against an MLflow server started
  with `--enable-workspaces`; `fetch` brings an adapter from storage and checks every byte first.
- `publish` and `unpublish` are the steps around the port. They call it outside any transaction.

Invariants
- One tenant is one MLflow workspace, chosen per call in a context variable, never in the process environment.
- Every step looks for what an earlier try left behind before it creates anything. So a kill between any two steps and
  a repeat give one run, one logged model and one version. One publisher at a time per job is the rule (the role's
  lease); should two meet, both continue with the job's lowest version, and it alone gets the alias.
- Rows of data sets never reach MLflow; their digests do.
"""
