"""Errors of publishing. `retryable` says whether the publishing loop should retry."""

from workers.contract.errors import OrchardError


class RegistryError(OrchardError):
    """The adapter could not be published."""

    code = "registry_error"


class RegistryUnavailable(RegistryError):
    """MLflow did not respond, failed, or rejected the credentials. The adapter is safe in storage."""

    code = "registry_unavailable"
    retryable = True


class RegistryRefused(RegistryError):
    """MLflow rejected the request; a retry would be rejected too."""

    code = "registry_refused"


class AdapterRefused(RegistryError):
    """The stored adapter does not match its manifest, or contains files that Orchard does not publish."""

    code = "adapter_refused"
