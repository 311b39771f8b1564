"""Keeping what must be known again to sign: sealed by the installation's key, if it has one."""

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
    """Seals and opens secrets. `keys` are Fernet keys, the newest first; all of them open, the first one seals.

    Without keys secrets are stored as they are, and are as safe as the database.
    """

    keys: tuple[str, ...] = field(default=(), repr=False)

    @classmethod
    def of(cls, setting: str | None) -> "SecretBox":
        """The vault of `ORCHARD_SECRETS_KEY`: keys with commas between. Raises: ValueError if one is none."""
        keys = tuple(key.strip() for key in (setting or "").split(",") if key.strip())
        for number, key in enumerate(keys, start=1):
            try:
                Fernet(key)
            except ValueError:
                raise ValueError(
                    f"key {number} of {len(keys)} is no Fernet key: 32 bytes in URL-safe base64 are needed"
                ) from None
        return cls(keys)

    def seal(self, secret: str) -> str:
        """What may be stored."""
        if not self.keys:
            return _OPEN + secret
        return _SEALED + self._fernet().encrypt(secret.encode()).decode()

    def open(self, stored: str) -> str:
        """The secret again. Raises: SealedForAnother."""
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
    """The end of a secret, for telling two apart."""
    return f"…{secret[-HINT_CHARS:]}"
