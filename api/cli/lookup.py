"""From the name of an adapter to the job that made it."""

from api.cli.client import OrchardClient
from api.cli.errors import CliError


def job_of(client: OrchardClient, adapter: str) -> str:
    """The id of the job that made `adapter`, which may be that id already. Raises CliError."""
    if adapter.startswith("ftjob-"):
        return adapter
    for job in client.jobs(limit=100_000):
        if job.fine_tuned_model == adapter:
            return job.id
    raise CliError(f"none of your jobs made an adapter {adapter!r}", code="model_not_found", hint="orchard adapters")
