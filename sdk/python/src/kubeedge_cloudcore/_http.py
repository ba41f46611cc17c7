"""What requests and answers are made of, apart from how they travel."""

from __future__ import annotations

import json
import platform
import ssl
import sys
import time
from base64 import urlsafe_b64decode
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Dict, Iterator, Mapping, Optional, Tuple, Union
from urllib.parse import parse_qsl, quote, urlsplit

import httpx

from . import errors
from ._files import Upload
from ._retry import retry_after
from ._version import VERSION

API = "/api/kubeedge"
JSON = "application/vnd.kubeedge.v1+json"
USER_AGENT = f"kubeedge-cloudcore-sdk/{VERSION} python/{platform.python_version()}"
FilePath = Union[str, Path]


@dataclass(frozen=True)
class Request:
    """One request, as a room describes it."""

    method: str
    path: str
    query: Mapping[str, Any] = field(default_factory=dict, repr=False)
    body: Optional[Mapping[str, Any]] = field(default=None, repr=False)
    upload: Optional[Upload] = None
    accept: str = JSON
    headers: Mapping[str, str] = field(default_factory=dict)
    idempotency_key: Optional[str] = None
    authenticated: bool = True
    timeout: Optional[httpx.Timeout] = None
    """Another one than the client's."""

    def arguments(self) -> Dict[str, Any]:
        """What ``httpx`` makes the request of; what is ``None`` is left out."""
        headers = {"accept": self.accept, **self.headers}
        if self.idempotency_key is not None:
            headers["idempotency-key"] = self.idempotency_key
        made: Dict[str, Any] = {"headers": headers, "params": sent(self.query)}
        if self.body is not None:
            # Bytes, so that NaN is refused here and the repeat is the same to the last one.
            made["content"] = json.dumps(sent(self.body), allow_nan=False).encode()
            headers["content-type"] = "application/json"
        if self.upload is not None:
            made["files"] = self.upload.parts()
        if self.timeout is not None:
            made["timeout"] = self.timeout
        return made


def sent(values: Mapping[str, Any]) -> Dict[str, Any]:
    """Without what was not said."""
    return {key: value for key, value in values.items() if value is not None}


def path(*segments: str) -> str:
    """A path below the API's, each segment escaped.

    Raises:
        ValueError: a segment is empty or would lead elsewhere.
    """
    for segment in segments:
        if segment in ("", ".", ".."):
            raise ValueError(f"{segment!r} names nothing")
    return "/".join([API, *(quote(segment, safe="") for segment in segments)])


def image(url: str) -> Tuple[str, Dict[str, Any]]:
    """Path and query of an ``image_url``. The hub that is known is asked for it, since the address
    in the link is that which some other reader of the hub's uses.

    Raises:
        ValueError: it is no link to a picture of a hub.
    """
    parts = urlsplit(url)
    _, found, name = parts.path.rpartition(f"{API}/images/")
    if not found or ".." in name.split("/"):
        raise ValueError("this is no link to a picture of a hub")
    return f"{API}/images/{name}", dict(parse_qsl(parts.query))


def moment(since: Union[datetime, int, str, None]) -> Optional[str]:
    """A time as the API takes it, or so many seconds.

    Raises:
        ValueError: a time without a time zone.
    """
    if isinstance(since, datetime):
        if since.tzinfo is None:
            raise ValueError("give the time with its time zone")
        return since.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    return None if since is None else str(since)


def base_url(text: str) -> str:
    """The hub's address without the API's own path, which may be given or not.

    Raises:
        ValueError: it is no address, or holds a user or password.
    """
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("base_url is an address such as https://hub.example:5443")
    if parts.username is not None or parts.password is not None:
        raise ValueError("base_url holds no user and password: give them as arguments")
    if parts.query or parts.fragment:
        raise ValueError("base_url has no query")
    root = parts.path.rstrip("/")
    if root.endswith(API):
        root = root[: -len(API)]
    return f"{parts.scheme}://{parts.netloc}{root}"


def tls(ca: Optional[FilePath]) -> ssl.SSLContext:
    """Trusts this CA alone, or those of the machine.

    Raises:
        ValueError: there is no such file, or no certificate in it.
    """
    if ca is None:
        return httpx.create_ssl_context()
    try:
        return ssl.create_default_context(cafile=str(ca))
    except OSError as error:
        raise ValueError(f"no CA certificate in {ca}: {error}") from error


def error_of(response: httpx.Response) -> errors.ApiError:
    """The error that a read answer is; one that is not the hub's, but a proxy's, has no code."""
    try:
        body = response.json()
    except ValueError:
        body = None
    if not isinstance(body, dict):
        body = {}
    code, status = body.get("code"), response.status_code
    code = code if isinstance(code, str) else None
    kind = errors.BY_CODE.get(code or "") or errors.BY_STATUS.get(status, errors.ApiError)
    message, details = body.get("message"), body.get("details")
    return kind(
        message if isinstance(message, str) else f"{response.reason_phrase or 'unexpected answer'}",
        status=status,
        code=code,
        request_id=body.get("request_id") or response.headers.get("x-request-id"),
        details=details if isinstance(details, dict) else None,
        retry_after=retry_after(response.headers),
    )


def object_of(response: httpx.Response) -> Dict[str, Any]:
    """The JSON object of a good answer.

    Raises:
        ApiError: it is another thing.
    """
    try:
        body = response.json()
    except ValueError:
        body = None
    if isinstance(body, dict):
        return body
    raise errors.ApiError(
        "the answer is no JSON object: is this address a hub's?",
        status=response.status_code,
        request_id=response.headers.get("x-request-id"),
    )


@contextmanager
def transport_errors(method: str, path: str) -> Iterator[None]:
    """Makes ``httpx``'s errors this package's; neither names a query or a header."""
    try:
        yield
    except httpx.TimeoutException as error:
        kind = type(error).__name__
        raise errors.RequestTimeoutError(f"{method} {path}: no answer in time ({kind})") from error
    except httpx.HTTPError as error:
        why = str(error) or type(error).__name__
        raise errors.TransportError(f"{method} {path}: {why}") from error


def caller() -> int:
    """How far up the stack, as ``warnings.warn`` counts, is who uses this package."""
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and frame.f_globals["__name__"].startswith(__package__):
        frame, level = frame.f_back, level + 1
    return level


def may_have_arrived(error: BaseException) -> bool:
    """Whether the hub may have what was sent before this error."""
    return not isinstance(
        error, (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError)
    )


def renewal(token: str) -> float:
    """When to get another session token, by the monotonic clock: after nine tenths of its life.

    Its life counts from now, so that a wrong clock here does no harm.
    """
    try:
        claims = token.split(".")[1]
        held = json.loads(urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))
        return time.monotonic() + max(0.0, 0.9 * (float(held["exp"]) - float(held["iat"])))
    except (IndexError, KeyError, TypeError, ValueError):
        # Not to be read: used until the hub refuses it.
        return float("inf")
