"""Who asks. None of these shows what it holds."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional, Union

from .errors import CloudCoreError


@dataclass(frozen=True)
class Bearer:
    """An API key, or a session's token that somebody else got."""

    token: str = field(repr=False)

    def bearer(self) -> str:
        """What requests carry."""
        return self.token


@dataclass(frozen=True)
class TokenFile:
    """A token that somebody else renews, as Kubernetes does a ServiceAccount's: read each time."""

    path: Path

    def bearer(self) -> str:
        """The token that is there at this moment.

        Raises:
            CloudCoreError: the file can't be read.
        """
        try:
            return self.path.read_text(encoding="utf-8").strip()
        except (OSError, ValueError) as error:
            raise CloudCoreError(f"no token in {self.path}: {error}") from error


@dataclass(frozen=True)
class Password:
    """A user who logs in."""

    username: str
    password: str = field(repr=False)


Credentials = Union[Bearer, TokenFile, Password]


def credentials(
    api_key: Optional[str],
    username: Optional[str],
    password: Optional[str],
    token_file: Union[str, Path, None],
) -> Optional[Credentials]:
    """Those that were given; ``None`` where there are none, for what is public.

    Raises:
        ValueError: more than one kind, or half of one.
    """
    if (username is None) != (password is None):
        raise ValueError("username and password belong together")
    given = [api_key is not None, username is not None, token_file is not None]
    if sum(given) > 1:
        raise ValueError("give one of api_key, username and password, or token_file")
    if api_key is not None:
        if not api_key or not api_key.isascii() or not api_key.isprintable():
            raise ValueError("api_key is empty or holds what no key has")
        return Bearer(api_key)
    if username is not None and password is not None:
        return Password(username, password)
    return TokenFile(Path(token_file)) if token_file is not None else None
