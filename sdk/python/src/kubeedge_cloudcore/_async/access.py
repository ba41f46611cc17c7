"""Sessions, users and API keys."""

from __future__ import annotations

from typing import Optional

from .. import _http
from .._auth import Password
from .._page import Cursor, Page
from ..models import ApiKeyInfo, CreatedKey, Done, Session, Ticket, User, UserInfo
from ..types import Role
from .base import AsyncBase


class AsyncAccess(AsyncBase):
    """Who may do what."""

    async def login(self, username: str, password: str) -> Session:
        """Log in, and stay logged in: from here on this client asks as this user, and renews the
        session before it ends.

        ``CloudCoreClient(…, username=…, password=…)`` does the same at the first request.

        Raises:
            AuthenticationError: no such user, or another password.
            RateLimitError: too many attempts.
        """
        who = Password(username, password)
        async with self._login_lock:
            session = await self._log_in(who)
            self._credentials = who
        return Session(session)

    async def change_password(self, old_password: str, new_password: str) -> Done:
        """Change one's own password, which has 8 to 256 bytes. Not with an API key."""
        body = {"old_password": old_password, "new_password": new_password}
        done = await self._post(Done, "/api/auth/password", body, key=None)
        if isinstance(self._credentials, Password):
            self._credentials = Password(self._credentials.username, new_password)
        return done

    async def create_ticket(self) -> Ticket:
        """Get a ticket that opens one event stream or WebSocket, for a browser: it goes into an
        address, where a token must not. ``monitor_stream`` needs none.
        """
        return await self._call(Ticket, _http.Request("POST", "/api/auth/ticket"))

    async def list_users(
        self, *, limit: Optional[int] = None, cursor: Optional[Cursor] = None
    ) -> Page[UserInfo]:
        """List users; ``limit`` of them at most."""
        return await self._list(UserInfo, "users", _http.path("users"), limit, cursor)

    async def create_user(
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
        made = await self._post(_User, _http.path("users"), body, key=idempotency_key)
        return made.user

    async def update_user(
        self,
        username: str,
        *,
        password: Optional[str] = None,
        role: Optional[Role] = None,
        disabled: Optional[bool] = None,
    ) -> UserInfo:
        """Change a user; what is left out stays."""
        body = {"password": password, "role": role, "disabled": disabled}
        return (await self._put(_UserInfo, _http.path("users", username), body)).user

    async def delete_user(self, username: str) -> Done:
        """Remove a user, whose sessions end."""
        return await self._delete(Done, _http.path("users", username))

    async def list_api_keys(
        self, *, limit: Optional[int] = None, cursor: Optional[Cursor] = None
    ) -> Page[ApiKeyInfo]:
        """List API keys, without the keys themselves."""
        return await self._list(ApiKeyInfo, "api_keys", _http.path("apikeys"), limit, cursor)

    async def create_api_key(
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
        return await self._post(CreatedKey, _http.path("apikeys"), body, key=idempotency_key)

    async def delete_api_key(self, key_id: str) -> Done:
        """End an API key."""
        return await self._delete(Done, _http.path("apikeys", key_id))


class _User(Done):
    user: User


class _UserInfo(Done):
    user: UserInfo
