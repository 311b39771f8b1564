"""Errors of publishing. `retryable` says whether the publishing loop should retry."""

from typing import ClassVar


class RegistryError(Exception):
    """The adapter could not be published."""

    code: ClassVar[str] = "registry_error"
    retryable: ClassVar[bool] = False


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
