"""Storage of signing secrets: encrypted with the installation's key, if it has one."""

from dataclasses import dataclass, field
from typing import Final

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

HINT_CHARS: Final = 4
_SEALED: Final = "fernet:"
_OPEN: Final = "plain:"


class SealedForAnother(Exception):
    """A stored secret cannot be opened: ORCHARD_SECRETS_KEY lacks the key it was sealed with."""


@dataclass(frozen=True)
class SecretBox:
    """Encrypts and decrypts secrets. `keys` are Fernet keys, newest first; all of them decrypt, the first encrypts.

    Without keys, secrets are stored in plain text and are as safe as the database.
    """

    keys: tuple[str, ...] = field(default=(), repr=False)

    @classmethod
    def of(cls, setting: str | None) -> "SecretBox":
        """The box for `ORCHARD_SECRETS_KEY`: comma-separated keys. Raises: ValueError for an invalid key."""
        keys = tuple(key.strip() for key in (setting or "").split(",") if key.strip())
        for number, key in enumerate(keys, start=1):
            try:
                Fernet(key)
            except ValueError:
                raise ValueError(
                    f"key {number} of {len(keys)} is not a Fernet key, which is 32 bytes in URL-safe base64"
                ) from None
        return cls(keys)

    def seal(self, secret: str) -> str:
        """The stored form of the secret."""
        if not self.keys:
            return _OPEN + secret
        return _SEALED + self._fernet().encrypt(secret.encode()).decode()

    def open(self, stored: str) -> str:
        """The secret. Raises: SealedForAnother."""
        if stored.startswith(_OPEN):
            return stored.removeprefix(_OPEN)
        if not self.keys:
            raise SealedForAnother(SealedForAnother.__doc__)
        try:
            return self._fernet().decrypt(stored.removeprefix(_SEALED)).decode()
        except InvalidToken:
            raise SealedForAnother(SealedForAnother.__doc__) from None

    def _fernet(self) -> MultiFernet:
        return MultiFernet([Fernet(key) for key in self.keys])


def hint(secret: str) -> str:
    """The end of a secret, to tell secrets apart."""
    return f"…{secret[-HINT_CHARS:]}"
