"""The faults by id, and what must hold when they strike."""

from typing import Final

CATALOGUE: Final = {
    "f01": "the API dies after COMMIT, before the response: the retry finds the one job",
    "f02": "the API dies before COMMIT, amid 50 identical POSTs: no job or one",
    "f03": "the orchestrator dies after an admission, before the cluster knows: the attempt starts, or is given up",
    "f04": "the orchestrator dies after starting a host, before recording it: the host is adopted, never doubled",
    "f05": "the orchestrator dies between a seat's outcome and PUBLISHING: the job is published once",
    "f06": "the orchestrator dies after the registry made a version, before recording it: one version",
    "f07": "an orchestrator stands still beyond its leases, another takes over, the first comes back: nothing twice",
    "f08": "clocks are wrong by 10 minutes and step backwards: no lease ends before its time",
    "f09": "connections to the database break, it crashes, is busy, a commit's answer is lost: no lost or double move",
    "f10": "the database is away while jobs run: they train on, none is restarted",
    "f11": "the disk is full: a submission is refused, an attempt fails as infra, older checkpoints stay whole",
    "f12": "a worker dies at 20 random steps: the result is the same to the bit",
    "f13": "a worker dies while it writes file k, before and after the manifest: nothing partial is ever offered",
    "f14": "a checkpoint is changed, cut or deleted: the one before is used, and the owner is told",
    "f15": "every checkpoint is corrupt: the job starts at 0 once, says so, and completes",
    "f16": "a worker stands still beyond its lease and comes back: it is ended, its job resumes elsewhere",
    "f17": "a worker is cut off from the orchestrator: it stops by itself, saved",
    "f18": "a worker lives but gets nowhere: the watchdog stops it, the owner's budget is untouched",
    "f19": "the process that holds the seats dies: everything it started is gone, its attempts end as infra",
    "f22": "a worker leaves a child in a session of its own: the child is ended",
    "f23": "a request that fits no device is refused at once, with the numbers",
    "f24": "errors of the job's own fail it at once, with a code, and no retry",
    "f25": "cancelled in every state, twice, and in a race with success: one end, the seat free",
    "f26": "asked for its seat while starting, saving, publishing: nothing beyond the last checkpoint is lost",
    "f28": "schedules of all of the above, from seeds: no invariant broken, every job ends",
    "f29": "MLflow is down, or fails after success: publishing waits, one version",
    "f30": "a migration is killed midway and run again; an older orchestrator works on a newer schema",
    "f31": "storage is slow, answers 503, lists what is stale: no list is used for truth, retries end",
    "f32": "a tenant tries paths, links, foreign ids, metadata addresses, pickles: refused, nothing read or written",
    "f33": "collection and expiry die at each step: the next pass completes, nothing alive is deleted",
    "f35": "a sender of webhooks dies after claiming, after sending: the receiver hears it under one id",
    "f36": "a base cannot be loaded: each job for it ends once, no host restarts, wherever the orchestrator dies",
}
"""F20, F21 and F34 need a cluster of several nodes; F27 is the planner's."""
