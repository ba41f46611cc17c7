"""How everything is, live and in numbers, and who else is told.

Made by scripts/generate.py: do not edit.
"""

from __future__ import annotations

from typing import Iterable, List, Optional

import httpx

from .. import _http
from .._model import Model
from .._page import Cursor, Page
from ..events import Event
from ..models import (
    CreatedWebhook,
    Done,
    Fleet,
    Health,
    HubHealth,
    ListedAlert,
    Webhook,
    WebhookDelivery,
    WebhookTested,
)
from ..types import DeliveryStatus, EventName, WebhookEvent
from .base import Base
from .stream import SILENCE, Stream, watch


class Monitoring(Base):
    """What happens."""

    def monitor_stream(
        self,
        *,
        events: Optional[Iterable[EventName]] = None,
        device_id: Optional[str] = None,
        last_event_id: Optional[int] = None,
        reconnect: bool = True,
        give_up_after: Optional[float] = 300.0,
    ) -> Stream[Event]:
        """Watch what happens, as it happens.

        A lost connection is made again with back-off, and goes on behind the last event that was
        seen, as far as the hub's history reaches (1024 events); what was lost beyond that is told
        by a :class:`~kubeedge_cloudcore.events.Lagged`.

        Args:
            events: Only these kinds; all otherwise.
            device_id: Only what concerns this device.
            last_event_id: Also what came behind the event with this ``id``.
            reconnect: ``False`` ends the loop with the first connection.
            give_up_after: Seconds without a connection after which its error is raised; ``None``
                tries for ever. A refusal of the hub (credentials, role) is raised at once.
        """
        request = _http.Request(
            "GET",
            _http.path("monitor", "stream"),
            {"events": None if events is None else ",".join(events), "device_id": device_id},
            accept="text/event-stream",
            timeout=httpx.Timeout(30.0, connect=10.0, read=SILENCE),
        )
        return Stream(watch(self, request, last_event_id, reconnect, give_up_after))

    def get_health(self) -> Health:
        """Whether the hub and its parts are well. Needs no credentials."""
        return self._get(Health, "/api/health")

    def get_metrics(self) -> Fleet:
        """The fleet in numbers."""
        return self._get(Fleet, _http.path("metrics"))

    def get_metrics_health(self) -> HubHealth:
        """How the hub's parts are, and how fast they answer."""
        return self._get(HubHealth, _http.path("metrics", "health"))

    def get_prometheus_metrics(self) -> str:
        """The hub and the fleet in numbers, in the text format of Prometheus."""
        return self._text(_http.path("metrics", "prometheus"))

    def list_alerts(
        self,
        *,
        active: Optional[bool] = None,
        device_id: Optional[str] = None,
        type: Optional[str] = None,
        limit: Optional[int] = 100,
        cursor: Optional[Cursor] = None,
    ) -> Page[ListedAlert]:
        """List alerts, newest first: the last 100, or ``limit``; ``None`` is all.

        Args:
            active: Those that go on, or those that are over; both otherwise.
            device_id: Of this device.
            type: Of this type: ``camera_lost``.
            limit: How many at most.
            cursor: ``next_cursor`` of the page before.
        """
        query = {"active": active, "device_id": device_id, "type": type}
        return self._list(ListedAlert, "alerts", _http.path("alerts"), limit, cursor, query)

    def list_webhooks(self) -> Page[Webhook]:
        """List webhooks, without their secrets."""
        found = self._get(_Webhooks, _http.path("webhooks"))
        return Page(found.webhooks, found.count)

    def create_webhook(
        self,
        url: str,
        events: Iterable[WebhookEvent],
        *,
        secret: Optional[str] = None,
        idempotency_key: Optional[str] = None,
    ) -> CreatedWebhook:
        """Make a webhook.

        Args:
            url: Where to post, http or https.
            events: What of; at least one.
            secret: What signs the deliveries; the hub makes one otherwise, and shows it this once.
            idempotency_key: To repeat this very call later, also from another process.
        """
        body = {"url": url, "events": list(events), "secret": secret}
        return self._post(CreatedWebhook, _http.path("webhooks"), body, key=idempotency_key)

    def delete_webhook(self, webhook_id: str) -> Done:
        """Delete a webhook."""
        return self._delete(Done, _http.path("webhooks", webhook_id))

    def list_webhook_deliveries(
        self,
        webhook_id: str,
        *,
        status: Optional[DeliveryStatus] = None,
        limit: Optional[int] = 100,
        cursor: Optional[Cursor] = None,
    ) -> Page[WebhookDelivery]:
        """List a webhook's deliveries: the last 100, or ``limit``; ``None`` is all."""
        path, query = _http.path("webhooks", webhook_id, "deliveries"), {"status": status}
        return self._list(WebhookDelivery, "deliveries", path, limit, cursor, query)

    def test_webhook(
        self, webhook_id: str, *, idempotency_key: Optional[str] = None
    ) -> WebhookTested:
        """Post a test event now, and say what the other server answered."""
        path = _http.path("webhooks", webhook_id, "test")
        return self._post(WebhookTested, path, key=idempotency_key)


class _Webhooks(Model):
    count: int
    webhooks: List[Webhook]
