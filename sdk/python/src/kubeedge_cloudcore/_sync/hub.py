"""The hub itself: settings, maintenance, backups, certificates, audit log, documents.

Made by scripts/generate.py: do not edit.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, Iterable, Optional, Union

from .. import _http
from .._files import Progress
from .._page import Cursor, Page
from ..models import (
    AgentReleases,
    AuditChain,
    AuditEntry,
    Backup,
    Certificate,
    CertificatesRenewed,
    CloudCoreDeployed,
    CloudCoreStanding,
    Configuration,
    ConfigurationChanged,
    CreatedBackup,
    Done,
    MaintenanceChanged,
    MaintenanceStanding,
    MqttStanding,
    RestoreAnswer,
)
from ..types import (
    AlertsChange,
    AuditOutcome,
    BackupInclude,
    CertificateKind,
    CertificateStatus,
    CloudCoreResources,
    RenewTarget,
    RetentionChange,
    SecurityChange,
)
from .base import Base


class Hub(Base):
    """What an administrator does."""

    def get_config(self) -> Configuration:
        """Get the current configuration."""
        return self._get(Configuration, _http.path("config"))

    def update_config(
        self,
        *,
        token_expiry: Optional[int] = None,
        max_devices: Optional[int] = None,
        security: Optional[SecurityChange] = None,
        alerts: Optional[AlertsChange] = None,
        retention: Optional[RetentionChange] = None,
    ) -> ConfigurationChanged:
        """Change the configuration, at once and over restarts. What is left out stays.

        Args:
            token_expiry: Life of a join token, hours.
            max_devices: Most devices that may be members.
            security: ``require_tls``, and ``rate_limit`` in requests a minute.
            alerts: Thresholds: ``{"cpu_percent": 95}``.
            retention: Days that detections are kept, by object: ``{"objects": {"person": 30}}``.
        """
        body = {
            "token_expiry": token_expiry,
            "max_devices": max_devices,
            "security": security,
            "alerts": alerts,
            "retention": retention,
        }
        return self._put(ConfigurationChanged, _http.path("config"), body)

    def start_maintenance(
        self, reason: Optional[str] = None, *, idempotency_key: Optional[str] = None
    ) -> MaintenanceChanged:
        """Start maintenance: joins, commands, deploys and new tokens are refused until it stops."""
        path, body = _http.path("maintenance", "start"), {"reason": reason}
        return self._post(MaintenanceChanged, path, body, key=idempotency_key)

    def stop_maintenance(self, *, idempotency_key: Optional[str] = None) -> MaintenanceChanged:
        """Stop maintenance."""
        path = _http.path("maintenance", "stop")
        return self._post(MaintenanceChanged, path, key=idempotency_key)

    def get_maintenance_status(self) -> MaintenanceStanding:
        """Whether there is maintenance, since when, and why."""
        return self._get(MaintenanceStanding, _http.path("maintenance", "status"))

    def create_backup(
        self,
        *,
        name: Optional[str] = None,
        include: Optional[Iterable[BackupInclude]] = None,
        description: Optional[str] = None,
        passphrase: Optional[str] = None,
        idempotency_key: Optional[str] = None,
    ) -> CreatedBackup:
        """Make a backup in the hub's object store.

        Args:
            name: Its name; the time otherwise.
            include: What it holds; ``config``, ``tokens`` and ``devices`` otherwise.
            description: Why, for people.
            passphrase: What opens it, also on another hub; this hub's own key otherwise.
            idempotency_key: To repeat this very call later, also from another process.
        """
        body = {
            "name": name,
            "include": None if include is None else list(include),
            "description": description,
            "passphrase": passphrase,
        }
        return self._post(CreatedBackup, _http.path("backup"), body, key=idempotency_key)

    def list_backups(
        self, *, limit: Optional[int] = None, cursor: Optional[Cursor] = None
    ) -> Page[Backup]:
        """List backups."""
        return self._list(Backup, "backups", _http.path("backups"), limit, cursor)

    def delete_backup(self, backup_id: str) -> Done:
        """Remove a backup."""
        return self._delete(Done, _http.path("backup", backup_id))

    def restore_backup(
        self,
        backup_id: str,
        *,
        passphrase: Optional[str] = None,
        idempotency_key: Optional[str] = None,
    ) -> RestoreAnswer:
        """Put a backup back into the running hub: all of it, or nothing.

        Where users were restored, everybody has to log in again; a client with a user's name and
        password does that by itself.
        """
        body = {"backup_id": backup_id, "passphrase": passphrase}
        return self._post(RestoreAnswer, _http.path("restore"), body, key=idempotency_key)

    def list_certificates(
        self,
        *,
        kind: Optional[CertificateKind] = None,
        status: Optional[CertificateStatus] = None,
        node_name: Optional[str] = None,
        limit: Optional[int] = None,
        cursor: Optional[Cursor] = None,
    ) -> Page[Certificate]:
        """List SSL certificates: the hub's own, and those of nodes."""
        query = {"kind": kind, "status": status, "node_name": node_name}
        path = _http.path("security", "certificates")
        return self._list(Certificate, "certificates", path, limit, cursor, query)

    def renew_certificates(
        self,
        *,
        target: Optional[RenewTarget] = None,
        node_name: Optional[str] = None,
        idempotency_key: Optional[str] = None,
    ) -> CertificatesRenewed:
        """Renew the hub's certificates now, or with ``node_name`` that of a node."""
        path = _http.path("security", "certificates", "renew")
        body = {"target": target, "node_name": node_name}
        return self._post(CertificatesRenewed, path, body, key=idempotency_key)

    def list_security_logs(
        self,
        *,
        actor: Optional[str] = None,
        outcome: Optional[AuditOutcome] = None,
        limit: Optional[int] = 100,
        cursor: Optional[Cursor] = None,
    ) -> Page[AuditEntry]:
        """List who did what: the last 100, or ``limit``; ``None`` is all."""
        path, query = _http.path("security", "logs"), {"actor": actor, "outcome": outcome}
        return self._list(AuditEntry, "logs", path, limit, cursor, query)

    def verify_security_logs(self) -> AuditChain:
        """Check that the audit log is whole."""
        return self._get(AuditChain, _http.path("security", "logs", "verify"))

    def deploy_cloudcore(
        self,
        version: str,
        *,
        replicas: Optional[int] = None,
        resources: Optional[CloudCoreResources] = None,
        idempotency_key: Optional[str] = None,
    ) -> CloudCoreDeployed:
        """Deploy or update KubeEdge's CloudCore in the hub's cluster.

        Raises:
            ServiceUnavailableError: the hub has no cluster, or does not reach it.
        """
        body = {"version": version, "replicas": replicas, "resources": resources}
        path = _http.path("cloudcore", "deploy")
        return self._post(CloudCoreDeployed, path, body, key=idempotency_key)

    def get_cloudcore_status(self) -> CloudCoreStanding:
        """How CloudCore is."""
        return self._get(CloudCoreStanding, _http.path("cloudcore", "status"))

    def get_mqtt_status(self) -> MqttStanding:
        """How MQTT is."""
        return self._get(MqttStanding, _http.path("mqtt"))

    def list_releases(self) -> AgentReleases:
        """List the agent's releases that the hub serves."""
        return self._get(AgentReleases, "/downloads")

    def get_release(
        self,
        file: str,
        to: Union[str, Path],
        *,
        sha256: Optional[str] = None,
        progress: Optional[Progress] = None,
    ) -> int:
        """Get a release of the agent, or its signature, into a file; its size in bytes.

        Args:
            file: Its name, as :meth:`list_releases` has it.
            to: The file, which is there only when it is whole.
            sha256: What its hash has to be.
            progress: Told the bytes so far and, where known, those in all.

        Raises:
            CloudCoreError: it has another hash; then there is no file.
        """
        path = "/downloads/" + _http.path(file).rpartition("/")[2]
        request = _http.Request("GET", path, accept="*/*")
        return self._download(request, to, sha256, progress)

    def get_installer(self) -> str:
        """Get the shell script that installs the agent from this hub."""
        return self._text("/install.sh")

    def get_openapi(self) -> Dict[str, Any]:
        """Get the OpenAPI document of this hub."""
        path = _http.path("openapi.json")
        return _http.object_of(self._send(_http.Request("GET", path)))

    def get_postman_collection(self) -> Dict[str, Any]:
        """Get the API as a Postman collection, v2.1."""
        path = _http.path("postman.json")
        return _http.object_of(self._send(_http.Request("GET", path)))

    def swagger_ui(self) -> str:
        """Get the page on which a browser can try the API."""
        return self._text(_http.path("swagger-ui") + "/")
