"""Resolves a job's id, adapter or name to its id."""

from api.cli.client import OrchardClient
from api.cli.errors import CliError


def job_of(client: OrchardClient, name: str) -> str:
    """The id of the newest job with that id, adapter `ft:…` or name. Raises CliError."""
    if name.startswith("ftjob-"):
        return name
    for job in client.jobs(limit=100_000):
        if name in (job.fine_tuned_model, job.user_provided_suffix):
            return job.id
    raise CliError(f"you have no job with the id, adapter or name {name!r}", code="job_not_found", hint="orchard jobs")
