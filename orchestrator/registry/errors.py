"""What can go wrong between storage and registry. `retryable` says whether the publishing loop should try again."""

from typing import ClassVar


class RegistryError(Exception):
    """The adapter could not be published."""

    code: ClassVar[str] = "registry_error"
    retryable: ClassVar[bool] = False


class RegistryUnavailable(RegistryError):
    """MLflow did not answer, failed, or does not accept our credentials now; the adapter is safe in storage."""

    code = "registry_unavailable"
    retryable = True


class RegistryRefused(RegistryError):
    """MLflow understood and said no; the same request would be refused again."""

    code = "registry_refused"


class AdapterRefused(RegistryError):
    """The adapter in storage is not the one its manifest describes, or holds what Orchard does not publish."""

    code = "adapter_refused"
