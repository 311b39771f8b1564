"""Files of a base from the hub."""

from collections.abc import Sequence
from pathlib import Path

from workers.contract.base import BaseSpec
from workers.contract.errors import BaseUnavailable, BaseUnusable


def snapshot(base: BaseSpec, patterns: Sequence[str]) -> Path:
    """The folder with the base's files of these patterns, fetched where they are not here. Raises: BaseUnusable,
    BaseUnavailable.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        return Path(snapshot_download(base.location, revision=base.revision, allow_patterns=list(patterns)))
    except (RepositoryNotFoundError, RevisionNotFoundError, HFValidationError) as error:
        raise BaseUnusable(
            f"base {base.id}: the hub has no {base.location} at {base.revision or 'main'} that this host may read"
        ) from error
    except (OSError, HfHubHTTPError, LocalEntryNotFoundError) as error:
        raise BaseUnavailable(
            f"base {base.id}: {base.location} at {base.revision or 'main'} could not be fetched: {type(error).__name__}"
        ) from error
