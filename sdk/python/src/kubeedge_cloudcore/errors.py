"""What can go wrong. All of it is a :class:`CloudCoreError`.

An answer of the hub that is an error is an :class:`ApiError`; each of the API's codes has a
subclass of its own. What never became an answer is a :class:`TransportError`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable, Dict, Mapping, Optional, Tuple, Type

if TYPE_CHECKING:
    from .models import CommandStatus

__all__ = [
    "CloudCoreError",
    "ApiError",
    "InvalidRequestError",
    "AuthenticationError",
    "PermissionDeniedError",
    "NotFoundError",
    "ConflictError",
    "RateLimitError",
    "InternalServerError",
    "DeviceUnreachableError",
    "ServiceUnavailableError",
    "TransportError",
    "RequestTimeoutError",
    "WaitTimeoutError",
    "CommandFailedError",
]


class CloudCoreError(Exception):
    """Base of all errors of this package."""

    message: str
    """What went wrong, for people."""
    code: Optional[str] = None
    """The API's code, such as ``API-004``; ``None`` where the hub did not say one."""
    status: Optional[int] = None
    """The HTTP status; ``None`` where there was no answer."""
    request_id: Optional[str] = None
    """What names the request in the hub's log."""
    details: Optional[Mapping[str, Any]] = None
    """What else the hub said."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    def __reduce__(self) -> Tuple[Callable[..., CloudCoreError], Tuple[Any, ...]]:
        return _restore, (type(self), self.args, self.__dict__)


def _restore(
    kind: Type[CloudCoreError], args: Tuple[Any, ...], fields: Dict[str, Any]
) -> CloudCoreError:
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(fields)
    return error


class ApiError(CloudCoreError):
    """The hub answered with an error."""

    status: int
    retry_after: Optional[float] = None
    """Seconds after which the hub, or a proxy before it, wants to be asked again."""

    def __init__(
        self,
        message: str,
        *,
        status: int,
        code: Optional[str] = None,
        request_id: Optional[str] = None,
        details: Optional[Mapping[str, Any]] = None,
        retry_after: Optional[float] = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.request_id = request_id
        self.details = details
        self.retry_after = retry_after

    def __str__(self) -> str:
        text = f"{self.code}: {self.message}" if self.code else self.message
        request = f", request {self.request_id}" if self.request_id else ""
        return f"{text} (HTTP {self.status}{request})"


class InvalidRequestError(ApiError):
    """API-001: the hub does not take these parameters."""


class AuthenticationError(ApiError):
    """API-002: no credentials, or none that the hub knows."""


class PermissionDeniedError(ApiError):
    """API-003: known, but the role does not allow it."""


class NotFoundError(ApiError):
    """API-004: there is no such thing."""


class ConflictError(ApiError):
    """API-005: it is there already, or in a state that does not allow it."""


class RateLimitError(ApiError):
    """API-006: too many requests; ``retry_after`` says when there is room again."""


class InternalServerError(ApiError):
    """API-007: a fault of the hub; its log has the cause under ``request_id``."""


class DeviceUnreachableError(ApiError):
    """API-008: the device is not connected."""


class ServiceUnavailableError(ApiError):
    """API-009: not now: maintenance, no cluster, or a part of the hub that is away."""


class TransportError(CloudCoreError):
    """No answer: the hub is not reached, TLS fails, or the connection broke."""


class RequestTimeoutError(TransportError):
    """No answer in time. Whether the hub did what was asked is not known."""


class WaitTimeoutError(CloudCoreError):
    """What was waited for had not come when the time was over."""


class CommandFailedError(CloudCoreError):
    """A command ended otherwise than ``completed``; ``command`` is how."""

    command: CommandStatus

    def __init__(self, command: CommandStatus) -> None:
        result = command.get("result")
        why = result.get("message") or result.get("reason") if isinstance(result, dict) else None
        name, ident, state = command["command"], command["command_id"], command["status"]
        super().__init__(f"command {name} ({ident}) {state}" + (f": {why}" if why else ""))
        self.command = command


BY_CODE: Mapping[str, Type[ApiError]] = {
    "API-001": InvalidRequestError,
    "API-002": AuthenticationError,
    "API-003": PermissionDeniedError,
    "API-004": NotFoundError,
    "API-005": ConflictError,
    "API-006": RateLimitError,
    "API-007": InternalServerError,
    "API-008": DeviceUnreachableError,
    "API-009": ServiceUnavailableError,
}
BY_STATUS: Mapping[int, Type[ApiError]] = {
    401: AuthenticationError,
    403: PermissionDeniedError,
    404: NotFoundError,
    409: ConflictError,
    429: RateLimitError,
    500: InternalServerError,
    503: ServiceUnavailableError,
}
