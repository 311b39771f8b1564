"""From what a person calls a job (its id, its adapter or its name) to the job's id."""

from api.cli.client import OrchardClient
from api.cli.errors import CliError


def job_of(client: OrchardClient, name: str) -> str:
    """The id of the newest job with that id, adapter `ft:…` or name. Raises CliError."""
    if name.startswith("ftjob-"):
        return name
    for job in client.jobs(limit=100_000):
        if name in (job.fine_tuned_model, job.user_provided_suffix):
            return job.id
    raise CliError(f"none of your jobs is called {name!r}", code="job_not_found", hint="orchard jobs")
