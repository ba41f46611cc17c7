"""The client, of its rooms."""

from __future__ import annotations

from pathlib import Path
from typing import Optional, Union

import httpx

from .. import _auth, _http
from .._retry import RetryPolicy
from .access import AsyncAccess
from .apps import AsyncApps
from .commands import AsyncCommands
from .devices import AsyncDevices
from .hub import AsyncHub
from .monitoring import AsyncMonitoring
from .tokens import AsyncTokens


class AsyncCloudCoreClient(
    AsyncDevices,
    AsyncCommands,
    AsyncMonitoring,
    AsyncTokens,
    AsyncApps,
    AsyncAccess,
    AsyncHub,
):
    """A client of a CloudCore hub.

    One client serves a whole program: it keeps its connections and, with a user's name and
    password, its session. Close it, or use it as a context manager.

    Every method raises :class:`~kubeedge_cloudcore.CloudCoreError`: an
    :class:`~kubeedge_cloudcore.ApiError` where the hub refused, a
    :class:`~kubeedge_cloudcore.TransportError` where it was not reached. Beyond what a method
    names, each may raise :class:`~kubeedge_cloudcore.InvalidRequestError`,
    :class:`~kubeedge_cloudcore.AuthenticationError`,
    :class:`~kubeedge_cloudcore.PermissionDeniedError` and
    :class:`~kubeedge_cloudcore.NotFoundError`.

    Args:
        base_url: The hub's address: ``https://hub.example:5443``.
        api_key: An API key, or the token of a session.
        username: A user, who is logged in at the first request and again before the session ends.
        password: The user's password.
        token_file: A file with a token, read at each request: that of a Kubernetes
            ServiceAccount, ``/var/run/secrets/kubernetes.io/serviceaccount/token``.
        ca_file: The CA to trust, PEM: the hub's own is ``ca.pem`` in its data directory. Those of
            the machine otherwise.
        timeout: Seconds that each answer may take. The hub gives up after 30.
        retries: How often a request is made again when the hub is not reached or says *not now*
            (429, 503); 0 is never. What changes something goes under an ``Idempotency-Key``, so
            that it is done once.
        max_wait: Longest wait between two tries, seconds. If the hub's ``Retry-After`` is longer,
            its error is raised at once.
        transport: Another way to travel than the network, for tests.

    Raises:
        ValueError: an argument makes no sense.
    """

    def __init__(
        self,
        base_url: str,
        *,
        api_key: Optional[str] = None,
        username: Optional[str] = None,
        password: Optional[str] = None,
        token_file: Union[str, Path, None] = None,
        ca_file: Union[str, Path, None] = None,
        timeout: float = 35.0,
        retries: int = 3,
        max_wait: float = 60.0,
        transport: Optional[httpx.AsyncBaseTransport] = None,
    ) -> None:
        if retries < 0 or timeout <= 0 or max_wait < 0:
            raise ValueError("timeout is more than 0, retries and max_wait are 0 or more")
        super().__init__(
            _http.base_url(base_url),
            _auth.credentials(api_key, username, password, token_file),
            httpx.AsyncClient(
                verify=_http.tls(ca_file),
                timeout=httpx.Timeout(timeout, connect=min(timeout, 10.0)),
                headers={"user-agent": _http.USER_AGENT},
                transport=transport,
            ),
            RetryPolicy(retries=retries, max_wait=max_wait),
        )
