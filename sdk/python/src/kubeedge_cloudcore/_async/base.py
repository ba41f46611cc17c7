"""How the client's requests travel: credentials, repeats, errors."""

from __future__ import annotations

import logging
import time
import uuid
import warnings
from pathlib import Path
from typing import Any, Mapping, Optional, Type, TypeVar, Union

import httpx

from .. import _http
from .._auth import Bearer, Credentials, Password, TokenFile
from .._files import Progress, arriving
from .._model import M
from .._page import LARGEST, Cursor, Page
from .._retry import RETRIED, RetryPolicy
from ..errors import ApiError, AuthenticationError, TransportError
from ._io import Lock, sleep

Self = TypeVar("Self", bound="AsyncBase")
log = logging.getLogger("kubeedge_cloudcore")


class AsyncBase:
    """What all rooms of the client stand on."""

    def __init__(
        self,
        base_url: str,
        credentials: Optional[Credentials],
        http: httpx.AsyncClient,
        policy: RetryPolicy,
    ) -> None:
        self._base_url = base_url
        self._credentials = credentials
        self._http = http
        self._policy = policy
        self._login_lock = Lock()
        self._token: Optional[str] = None
        self._renew_at = 0.0

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._base_url!r})"

    async def aclose(self) -> None:
        """Closes all connections. Streams that are still open end."""
        await self._http.aclose()

    async def __aenter__(self: Self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def _get(self, model: Type[M], path: str, query: Optional[Mapping[str, Any]] = None) -> M:
        return await self._call(model, _http.Request("GET", path, query or {}))

    async def _put(self, model: Type[M], path: str, body: Mapping[str, Any]) -> M:
        return await self._call(model, _http.Request("PUT", path, body=body))

    async def _delete(self, model: Type[M], path: str) -> M:
        return await self._call(model, _http.Request("DELETE", path))

    async def _post(
        self,
        model: Type[M],
        path: str,
        body: Optional[Mapping[str, Any]] = None,
        *,
        key: Optional[str],
        query: Optional[Mapping[str, Any]] = None,
    ) -> M:
        # Under a key the hub does it once, so a POST may be repeated like any other request.
        key = str(uuid.uuid4()) if key is None else key
        return await self._call(
            model, _http.Request("POST", path, query or {}, body, idempotency_key=key)
        )

    async def _call(self, model: Type[M], request: _http.Request) -> M:
        return model(_http.object_of(await self._send(request)))

    async def _text(
        self, path: str, accept: str = "*/*", query: Optional[Mapping[str, Any]] = None
    ) -> str:
        response = await self._send(_http.Request("GET", path, query or {}, accept=accept))
        return response.text

    async def _list(
        self,
        model: Type[M],
        key: str,
        path: str,
        limit: Optional[int],
        cursor: Optional[Cursor],
        query: Optional[Mapping[str, Any]] = None,
    ) -> Page[M]:
        """All items, or ``limit`` of them, in as many requests as that takes."""
        if limit is not None and limit < 1:
            raise ValueError("limit is at least 1")
        page: Page[M] = Page()
        while True:
            rest = LARGEST if limit is None else min(LARGEST, limit - len(page))
            asked = {**(query or {}), "limit": rest, "cursor": cursor}
            response = await self._send(_http.Request("GET", path, asked))
            answer = _http.object_of(response)
            page.extend(model(item) for item in answer.get(key) or [])
            following = answer.get("next_cursor")
            page.total = answer.get("count") or len(page)
            page.next_cursor = following
            # A hub that goes in circles must not keep us for ever.
            if following is None or following == cursor or (limit and len(page) >= limit):
                return page
            cursor = following

    async def _download(
        self,
        request: _http.Request,
        to: Union[str, Path],
        sha256: Optional[str],
        progress: Optional[Progress],
    ) -> int:
        """Streams the answer into a file, and says how many bytes it has. One that breaks off is
        begun again.
        """
        attempt = 0
        while True:
            response = await self._open(request)
            try:
                length = response.headers.get("content-length", "")
                total = int(length) if length.isdigit() else None
                broken = _http.transport_errors(request.method, request.path)
                with arriving(to, total, sha256, progress) as part, broken:
                    async for chunk in response.aiter_bytes(65536):
                        part.write(chunk)
                return part.size
            except TransportError as error:
                wait = self._policy.wait(attempt, None)
                if wait is None:
                    raise
                why = error.message
            finally:
                await response.aclose()
            attempt += 1
            log.info("%s %s again in %.1f s: %s", request.method, request.path, wait, why)
            await sleep(wait)

    async def _send(self, request: _http.Request) -> httpx.Response:
        """The whole answer, which is a good one."""
        return await self._answer(request, stream=False, policy=self._policy)

    async def _open(
        self, request: _http.Request, policy: Optional[RetryPolicy] = None
    ) -> httpx.Response:
        """A good answer whose body is still to be read, and that is to be closed."""
        return await self._answer(request, stream=True, policy=policy or self._policy)

    async def _answer(
        self, request: _http.Request, *, stream: bool, policy: RetryPolicy
    ) -> httpx.Response:
        attempt, lost, renewed = 0, False, False
        while True:
            token = await self._bearer() if request.authenticated else None
            try:
                with _http.transport_errors(request.method, request.path):
                    response = await self._once(request, token, stream)
            except TransportError as error:
                arrived = error.__cause__ is None or _http.may_have_arrived(error.__cause__)
                wait = policy.wait(attempt, None)
                if wait is None:
                    raise
                lost, why = lost or arrived, error.message
            else:
                if response.is_success:
                    self._warn_of_end(request, response)
                    return response
                refused = _http.error_of(response)
                if isinstance(refused, AuthenticationError) and token and not renewed:
                    # The session may have ended before its time: the hub's key or user changed.
                    renewed = True
                    if await self._renew(token):
                        continue
                wait = self._wait(policy, attempt, refused, lost)
                if wait is None:
                    raise refused
                why = str(refused)
            attempt += 1
            log.info("%s %s again in %.1f s: %s", request.method, request.path, wait, why)
            await sleep(wait)

    def _wait(
        self, policy: RetryPolicy, attempt: int, refused: ApiError, lost: bool
    ) -> Optional[float]:
        if (refused.details or {}).get("reason") == "not_configured":
            return None
        # After a lost answer, a conflict may be that the first of the same key still runs.
        if refused.status in RETRIED or (lost and refused.status == 409):
            return policy.wait(attempt, refused.retry_after)
        return None

    async def _once(
        self, request: _http.Request, token: Optional[str], stream: bool
    ) -> httpx.Response:
        made = self._http.build_request(
            request.method, self._base_url + request.path, **request.arguments()
        )
        if token is not None:
            made.headers["authorization"] = f"Bearer {token}"
        response = await self._http.send(made, stream=True)
        if stream and response.is_success:
            return response
        try:
            await response.aread()
        finally:
            await response.aclose()
        return response

    def _warn_of_end(self, request: _http.Request, response: httpx.Response) -> None:
        if "deprecation" in response.headers:
            sunset = response.headers.get("sunset", "a date that the hub does not name")
            warnings.warn(
                f"the hub ends {request.method} {request.path} on {sunset}",
                DeprecationWarning,
                stacklevel=_http.caller(),
            )

    async def _bearer(self) -> Optional[str]:
        held = self._credentials
        if isinstance(held, (Bearer, TokenFile)):
            return held.bearer()
        if held is None:
            return None
        async with self._login_lock:
            if self._token is None or time.monotonic() >= self._renew_at:
                await self._log_in(held)
            return self._token

    async def _renew(self, refused: str) -> bool:
        """Another session token in place of one that was refused; whether there is one."""
        if not isinstance(self._credentials, Password):
            return False
        async with self._login_lock:
            # Another task may have been here first.
            if self._token == refused:
                await self._log_in(self._credentials)
        return True

    async def _log_in(self, who: Password) -> Mapping[str, Any]:
        session = _http.object_of(
            await self._send(
                _http.Request(
                    "POST",
                    "/api/auth/login",
                    body={"username": who.username, "password": who.password},
                    authenticated=False,
                )
            )
        )
        self._token = session.get("token")
        self._renew_at = _http.renewal(self._token or "")
        return session
