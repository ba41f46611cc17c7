"""Sessions, users and API keys.

Made by scripts/generate.py: do not edit.
"""

from __future__ import annotations

from typing import Optional

from .. import _http
from .._auth import Password
from .._page import Cursor, Page
from ..models import ApiKeyInfo, CreatedKey, Done, Session, Ticket, User, UserInfo
from ..types import Role
from .base import Base


class Access(Base):
    """Who may do what."""

    def login(self, username: str, password: str) -> Session:
        """Log in, and stay logged in: from here on this client asks as this user, and renews the
        session before it ends.

        ``CloudCoreClient(…, username=…, password=…)`` does the same at the first request.

        Raises:
            AuthenticationError: no such user, or another password.
            RateLimitError: too many attempts.
        """
        who = Password(username, password)
        with self._login_lock:
            session = self._log_in(who)
            self._credentials = who
        return Session(session)

    def change_password(self, old_password: str, new_password: str) -> Done:
        """Change one's own password, which has 8 to 256 bytes. Not with an API key."""
        body = {"old_password": old_password, "new_password": new_password}
        done = self._post(Done, "/api/auth/password", body, key=None)
        if isinstance(self._credentials, Password):
            self._credentials = Password(self._credentials.username, new_password)
        return done

    def create_ticket(self) -> Ticket:
        """Get a ticket that opens one event stream or WebSocket, for a browser: it goes into an
        address, where a token must not. ``monitor_stream`` needs none.
        """
        return self._call(Ticket, _http.Request("POST", "/api/auth/ticket"))

    def list_users(
        self, *, limit: Optional[int] = None, cursor: Optional[Cursor] = None
    ) -> Page[UserInfo]:
        """List users; ``limit`` of them at most."""
        return self._list(UserInfo, "users", _http.path("users"), limit, cursor)

    def create_user(
        self,
        username: str,
        password: str,
        *,
        role: Optional[Role] = None,
        idempotency_key: Optional[str] = None,
    ) -> User:
        """Make a user. The password has 8 to 256 bytes; without a role it is a ``viewer``.

        Raises:
            ConflictError: there is one of this name.
        """
        body = {"username": username, "password": password, "role": role}
        made = self._post(_User, _http.path("users"), body, key=idempotency_key)
        return made.user

    def update_user(
        self,
        username: str,
        *,
        password: Optional[str] = None,
        role: Optional[Role] = None,
        disabled: Optional[bool] = None,
    ) -> UserInfo:
        """Change a user; what is left out stays."""
        body = {"password": password, "role": role, "disabled": disabled}
        return (self._put(_UserInfo, _http.path("users", username), body)).user

    def delete_user(self, username: str) -> Done:
        """Remove a user, whose sessions end."""
        return self._delete(Done, _http.path("users", username))

    def list_api_keys(
        self, *, limit: Optional[int] = None, cursor: Optional[Cursor] = None
    ) -> Page[ApiKeyInfo]:
        """List API keys, without the keys themselves."""
        return self._list(ApiKeyInfo, "api_keys", _http.path("apikeys"), limit, cursor)

    def create_api_key(
        self,
        name: str,
        *,
        role: Optional[Role] = None,
        expiry_days: Optional[int] = None,
        idempotency_key: Optional[str] = None,
    ) -> CreatedKey:
        """Make an API key. ``api_key`` of the answer is shown this once.

        Without a role it is a ``viewer``'s, and without ``expiry_days`` it does not end.
        """
        body = {"name": name, "role": role, "expiry_days": expiry_days}
        return self._post(CreatedKey, _http.path("apikeys"), body, key=idempotency_key)

    def delete_api_key(self, key_id: str) -> Done:
        """End an API key."""
        return self._delete(Done, _http.path("apikeys", key_id))


class _User(Done):
    user: User


class _UserInfo(Done):
    user: UserInfo
