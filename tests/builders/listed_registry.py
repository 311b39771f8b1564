"""`ListedRegistry`: a registry in memory that fails as often as a test sets, and a publisher over it."""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from orchestrator.registry.port import Publication, Registered
from orchestrator.registry.publish import Publish
from tests.builders.world import World


class ListedRegistry:
    """Keeps publications by job id, like the real one. `before` runs during each call."""

    def __init__(self) -> None:
        self.versions: dict[str, Registered] = {}
        self.failures: list[Exception] = []
        self.folders: list[list[str]] = []
        self.before: Callable[[], None] = lambda: None

    def publish(self, publication: Publication, adapter_folder: Path) -> Registered:
        self.before()
        files = (path for path in adapter_folder.rglob("*") if path.is_file())
        self.folders.append(sorted(str(path.relative_to(adapter_folder)) for path in files))
        version = str(len(self.versions) + 1)
        known = self.versions.setdefault(publication.job_id, Registered(publication.name, version, "run", "m-1"))
        if self.failures:
            raise self.failures.pop(0)
        return known

    def unpublish(self, tenant_slug: str, name: str, version: str, deleted_at: datetime) -> None:
        """Tests delete no model here."""


def make_publish(world: World, registry: ListedRegistry) -> Publish:
    """The publishing loop of `world`."""
    return Publish(world.db, registry, world.catalogue, world.folder.as_uri(), "http://orchard")
