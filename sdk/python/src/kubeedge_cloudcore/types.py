"""Types of what methods take, from the hub's OpenAPI document.

Made by scripts/generate.py: do not edit.
"""

from __future__ import annotations

from typing import Any, Dict, Literal, TypedDict, Union

EventName = Literal[
    "node_joined", "node_left", "heartbeat", "detection", "command_sent", "command_result", "alert"
]
"""Events of the stream, which the document has as text."""

AppOutcome = Literal["success", "pending", "failed"]
"""How a request went on a device."""

AppStanding = Literal["Pending", "Running", "Failed", "Removing", "Unknown"]
"""How an app stands on a device."""

BackupInclude = Literal[
    "config",
    "tokens",
    "devices",
    "users",
    "commands",
    "detections",
    "webhooks",
    "apps",
    "models",
    "certificates",
]
"""What a backup holds."""

BatchOutcome = Literal["success", "failed"]
"""How a device of a batch went."""

CertificateKind = Literal["ca", "link", "https", "node"]
"""Whose certificate it is."""

CertificateStatus = Literal["valid", "expiring", "expired", "revoked"]
"""How a certificate stands."""

CloudCoreRun = Literal[
    "running", "maintenance", "progressing", "degraded", "stopped", "not_deployed", "unknown"
]
"""How CloudCore is."""

CommandState = Literal[
    "queued", "sent", "running", "completed", "failed", "timed_out", "cancelled", "expired"
]
"""Where a command stands."""

ConnectionTest = Literal["ping", "port_check", "camera_test"]
"""What can be tested; the name is the command's."""

DeploymentStatus = Literal["success", "partial", "failed"]
"""How a request went on its devices as a whole."""

HubStanding = Literal["healthy", "degraded", "unhealthy"]
"""How the hub is."""

WebhookEvent = Literal[
    "device_joined",
    "device_left",
    "heartbeat",
    "detection",
    "command_sent",
    "command_result",
    "alert",
]
"""The contract's seven events."""

PictureKind = Literal["command", "scheduled", "snapshot", "pre_roll"]
"""Why there is a picture."""

RenewTarget = Literal["server", "link", "https", "node"]

Role = Literal["viewer", "operator", "admin"]
"""What somebody may do; each may all that the ones before it may."""

TestStatus = Literal["running", "completed", "failed"]
"""Where tests stand as a whole."""

TestVerdict = Literal["passed", "failed", "running"]
"""How one test went."""

TokenStatus = Literal["active", "used", "expired", "revoked"]
"""How a token stands."""

LogLevel = Literal["error", "warn", "info", "debug", "trace"]
"""None less urgent than this: ``error``, ``warn``, ``info``, ``debug`` or ``trace``."""

DeviceState = Literal["Ready", "NotReady"]
"""``Ready`` or ``NotReady``."""

AuditOutcome = Literal["done", "refused", "failed"]
"""How a request ended."""

DeliveryStatus = Literal["pending", "delivered", "failed"]
"""Where a delivery stands."""


class AppPort(TypedDict):
    """AppPort"""

    container: int
    host: int


class AlertsChange(TypedDict, total=False):
    """When alerts begin."""

    certificate_days: int
    """``certificate_expiring`` below this, days."""
    cpu_percent: int
    """``high_cpu`` above this, per cent."""
    cpu_seconds: int
    """... for so long, seconds."""
    disk_percent: int
    """``disk_full`` above this, per cent."""
    memory_percent: int
    """``high_memory`` above this, per cent."""
    temperature_celsius: int
    """``high_temperature`` above this, degrees Celsius."""


class AppLimits(TypedDict, total=False):
    """What an app may use at most, as Kubernetes quantities; as much as there is where
    absent."""

    cpu: Union[str, float]
    """Cores, 1m to 1024."""
    memory: Union[str, float]
    """Bytes, 1Mi to 1Pi."""


class CloudCoreResources(TypedDict, total=False):
    """Quantities of Kubernetes."""

    cpu: str
    memory: str


class _JoinDevice(TypedDict):
    """What it needs."""

    node_name: str
    """Its node, as Kubernetes names one."""
    device_id: str
    """Its id."""


class JoinDevice(_JoinDevice, total=False):
    """A device that is to join."""

    cloud_ip: str
    """The host that the join command names; the hub's advertised one where absent."""
    configuration: Dict[str, Any]
    """Anything else; at most 16 KiB."""
    device_type: str
    """What it is."""
    location: str
    """Where it is."""


class RetentionChange(TypedDict, total=False):
    """How long what was detected is kept."""

    objects: Dict[str, int]
    """Days that detections of an object are kept, with their pictures, by its label; ``*`` is
    for all others. It takes the place of what was there; without any, ``retention_days``
    holds."""


class SecurityChange(TypedDict, total=False):
    """SecurityChange"""

    rate_limit: int
    """Requests a minute for each caller."""
    require_tls: bool
    """Whether plain HTTP is refused from other machines; wants a TLS listener."""
