"""HTTP in, HTTP out: the OpenAI-compatible REST API and the `orchard` command line.

May import: services and views of `orchestrator`, FastAPI. No SQL, no scheduling, no Ray, no MLflow, no torch.

Rooms
- `app`: the application; `serve`: its process. `routes`: one module a resource, each endpoint one service call.
- `errors`: the one table from kinds of refusal to HTTP. `auth`: from the header to the tenant or admin that asks.
- `connections`: how long one may wait for its client. `event_feed`: one reader for all event streams.
- `cli`: the command line. `demo`: the main job from end to end. `example`: its base, which `orchard up` offers too.

Invariants
- Every error leaves in OpenAI's body shape and with an `x-request-id`.
- An endpoint passes the tenant of its key to the service; no id from a request decides whose data is read.
"""
