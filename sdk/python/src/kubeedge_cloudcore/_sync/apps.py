"""Apps on devices, and the models that they and the agents use.

Made by scripts/generate.py: do not edit.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Iterable, Mapping, Optional, Union

import httpx

from .. import _http
from .._files import Progress, Upload
from .._page import Cursor, Page
from ..models import App, AppDeployed, AppRemoved, CatalogModel, Done, UploadedModel
from ..types import AppLimits, AppPort
from .base import Base


class Apps(Base):
    """What runs on devices."""

    def deploy_app(
        self,
        name: str,
        image: str,
        device_ids: Iterable[str],
        *,
        config: Optional[Mapping[str, Any]] = None,
        resources: Optional[AppLimits] = None,
        ports: Optional[Iterable[AppPort]] = None,
        image_pull_secrets: Optional[Iterable[str]] = None,
        idempotency_key: Optional[str] = None,
    ) -> AppDeployed:
        """Deploy an app, or another version of it. ``results`` says how it went on each device.

        Args:
            name: A DNS label.
            image: A container image: ``[registry[:port]/]path[:tag][@digest]``.
            device_ids: On which devices.
            config: Environment variables of the app.
            resources: What it may use: ``{"cpu": "500m", "memory": "512Mi"}``.
            ports: ``[{"host": 5001, "container": 8080}]``.
            image_pull_secrets: Secrets of the cluster by which its nodes fetch the image.
            idempotency_key: To repeat this very call later, also from another process.
        """
        body = {
            "name": name,
            "image": image,
            "device_ids": list(device_ids),
            "config": config,
            "resources": resources,
            "ports": None if ports is None else list(ports),
            "image_pull_secrets": None if image_pull_secrets is None else list(image_pull_secrets),
        }
        return self._post(AppDeployed, _http.path("apps", "deploy"), body, key=idempotency_key)

    def list_apps(
        self,
        *,
        device_id: Optional[str] = None,
        limit: Optional[int] = None,
        cursor: Optional[Cursor] = None,
    ) -> Page[App]:
        """List deployed apps, and how each stands on its devices."""
        query = {"device_id": device_id}
        return self._list(App, "apps", _http.path("apps"), limit, cursor, query)

    def get_app(self, name: str) -> App:
        """Get an app, and how it stands on its devices."""
        return self._get(App, _http.path("apps", name))

    def delete_app(self, name: str) -> AppRemoved:
        """Remove an app from all its devices."""
        return self._delete(AppRemoved, _http.path("apps", name))

    def list_models(
        self,
        *,
        name: Optional[str] = None,
        limit: Optional[int] = None,
        cursor: Optional[Cursor] = None,
    ) -> Page[CatalogModel]:
        """List the catalog of models."""
        query = {"name": name}
        return self._list(CatalogModel, "models", _http.path("models"), limit, cursor, query)

    def upload_model(
        self,
        model: Union[str, Path],
        description: Union[str, Path, Mapping[str, Any]],
        *,
        progress: Optional[Progress] = None,
    ) -> UploadedModel:
        """Add a model to the catalog. The same upload again has the same answer.

        Args:
            model: The ONNX file, which is read as it is sent.
            description: What stands beside it (``name``, ``version``, ``sha256``, ``head``, …): the
                path of a JSON file, or an object.
            progress: Told the bytes so far and those in all.

        Raises:
            ConflictError: this version is another model.
        """
        if isinstance(description, Mapping):
            text = json.dumps(description, allow_nan=False).encode()
        else:
            text = Path(description).read_bytes()
        with Path(model).open("rb") as file:
            request = _http.Request(
                "POST",
                _http.path("models"),
                upload=Upload(text, file, progress),
                # The hub checks the whole file before it answers.
                timeout=httpx.Timeout(600.0, connect=10.0),
            )
            return self._call(UploadedModel, request)

    def get_model(self, name: str, version: str) -> CatalogModel:
        """Show a model of the catalog."""
        return self._get(CatalogModel, _http.path("models", name, version))

    def delete_model(self, name: str, version: str) -> Done:
        """Remove a model from the catalog."""
        return self._delete(Done, _http.path("models", name, version))
