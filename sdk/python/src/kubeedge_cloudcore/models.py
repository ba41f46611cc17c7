"""Answers of the hub, from its OpenAPI document.

Made by scripts/generate.py: do not edit.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Dict, List, Optional, Union

from . import types
from ._model import Model


class ActiveAlert(Model):
    """An alert that has begun and not ended."""

    device_id: str
    """Whose."""
    message: str
    """For people."""
    timestamp: datetime
    """When it began."""
    type: str
    """A term such as ``camera_lost``."""


class Admission(Model):
    """Where a device connects to, and with what."""

    broker: str
    """The broker."""
    broker_tls: Optional[str]
    """The broker by TLS, where it listens for it."""
    created_at: datetime
    """From when on."""
    device_id: str
    """The device."""
    password: Optional[str]
    """The MQTT password; it is not shown again. Null where the broker is not the hub's."""
    status: str
    """``success``."""
    topics: MqttTopics
    """What to say and hear there."""
    username: Optional[str]
    """The MQTT user name, which is the client id too; null where the broker is not the
    hub's."""


class AgentRelease(Model):
    """One file that can be installed."""

    architecture: str
    """``amd64`` or ``arm64``."""
    file: str
    """Its name under ``/downloads/``."""
    sha256: str
    """Of the file, hex."""
    signed: bool
    """Whether its signature is beside it: only then members update to it."""
    size_bytes: int
    """Its size."""
    version: str
    """Its version."""


class AgentReleases(Model):
    """AgentReleases"""

    releases: List[AgentRelease]
    """Newest first."""
    total_count: int
    """How many."""


class ApiKeyInfo(Model):
    """An API key, as a list shows one."""

    created_at: datetime
    """When it was made."""
    created_by: str
    """Who made it."""
    expires_at: Optional[datetime]
    """When it ends; null where it does not."""
    key_id: str
    """Its id, which is no secret."""
    last_used_at: Optional[datetime]
    """When it was used, within five minutes."""
    name: str
    """For people."""
    role: Union[types.Role, str]
    """What it may do."""


class App(Model):
    """An app."""

    config: Dict[str, Any]
    """What it is told. What its names say is secret (``DB_PASSWORD``, ``API_KEY``), and a URL's
    user and password, is shown as ``***``."""
    created_at: datetime
    """When it was deployed first."""
    devices: List[AppDevice]
    """Where it is."""
    devices_running: int
    """On how many devices it runs."""
    image: str
    """The image that was deployed last."""
    name: str
    """Its name."""
    ports: Optional[List[Dict[str, Any]]]
    """TCP ports of the device that lead into it; none of them twice."""
    resources: AppAllowed
    """What it may use at most."""
    updated_at: datetime
    """When it was deployed last."""


class AppAllowed(Model):
    """What an app may use at most."""

    cpu: Optional[str]
    """Cores."""
    memory: Optional[str]
    """Bytes."""


class AppDeployed(Model):
    """How a deployment went."""

    deployment_name: str
    """The app."""
    devices_deployed: int
    """How many devices run it now."""
    results: List[AppResult]
    """Each device, in the order asked for."""
    services_created: List[AppService]
    """Where it is reached."""
    status: Union[types.DeploymentStatus, str]
    """As a whole; 200 in each case, for the app is known from now on."""


class AppDevice(Model):
    """A device of an app."""

    device_id: str
    """Which device."""
    health: Optional[str]
    """What its health check says, where it has one."""
    image: str
    """The image that it is to run there."""
    message: Optional[str]
    """The same for people."""
    node: Optional[str]
    """The cluster's node that it is pinned to; null where the device's own engine runs it."""
    port: Optional[int]
    """TCP port that it is reached at, where it has one."""
    reason: Optional[str]
    """Why it failed, as a term."""
    restarts: Optional[int]
    """How often its container was restarted; null where nobody has said."""
    status: Union[types.AppStanding, str]
    """How the app stands there."""
    updated_at: datetime
    """Since when it stands so."""


class AppRemoved(Model):
    """How a removal went."""

    message: str
    """For people."""
    results: List[AppResult]
    """Each device that had it."""
    status: Union[types.DeploymentStatus, str]
    """As a whole."""


class AppResult(Model):
    """One device of a request."""

    actions_taken: List[str]
    """What was done in the cluster, where that runs the app."""
    command_id: Optional[str]
    """The command, for its status; null where the cluster runs the app."""
    device_id: str
    """Which device."""
    message: Optional[str]
    """The same for people."""
    reason: Optional[str]
    """Why it failed, as a term."""
    status: Union[types.AppOutcome, str]
    """How it went there."""


class AppService(Model):
    """Where an app is reached."""

    device_id: str
    """On which device."""
    port: int
    """TCP port there."""
    url: str
    """The same as a link, for who knows the device by its id."""


class Application(Model):
    """An app on a device, as the device's details show it."""

    health: Optional[str]
    """What its health check says, where it has one."""
    image: str
    """The image that it is to run there."""
    message: Optional[str]
    """The same for people."""
    name: str
    """The app."""
    port: Optional[int]
    """TCP port that it is reached at, where it has one."""
    reason: Optional[str]
    """Why it failed, as a term."""
    restarts: Optional[int]
    """How often its container was restarted; null where nobody has said."""
    status: Union[types.AppStanding, str]
    """How it stands there."""


class Backup(Model):
    """What is known of a backup without opening it; stands beside it in the store."""

    backup_id: str
    """Its id."""
    created_at: datetime
    """When it was made."""
    description: Optional[str]
    """Why, for people."""
    include: List[Union[types.BackupInclude, str]]
    """What it holds."""
    location: str
    """Where it is."""
    name: str
    """As it was asked for."""
    sealed_by: str
    """What opens it: ``hub`` (this hub's own key) or ``passphrase``."""
    size: str
    """For people."""
    size_bytes: int
    """Bytes."""


class BatchDetails(Model):
    """How a device of a batch joins."""

    device_id: str
    """Its id."""
    expires_at: datetime
    """When the token ends."""
    join_command: str
    """The line to run on the node; its token is not shown again."""
    node_name: str
    """Its node."""
    warnings: List[str]
    """What was not done in the cluster, and why: it is done later."""


class BatchJoined(Model):
    """A batch."""

    failed: int
    """How many may not."""
    results: List[BatchResult]
    """Each of them, in the order given."""
    success: int
    """How many may join."""
    total: int
    """How many devices there were."""


class BatchResult(Model):
    """A device of a batch."""

    code: Optional[str]
    """The same as one of the contract's codes."""
    details: Optional[BatchDetails]
    """How it joins; null where it may not."""
    device: str
    """Its id; where it named none, its number, as ``#3``."""
    error: Optional[str]
    """Why it may not."""
    status: Union[types.BatchOutcome, str]
    """How it went."""


class Certificate(Model):
    """A certificate, as the API shows one."""

    days_left: int
    """Whole days until then; negative after it."""
    device_id: Optional[str]
    """Its device, where it is a node's."""
    fingerprint: str
    """SHA-256 of its DER, hex."""
    in_use: bool
    """Whether the hub shows it now, or the device's session came with it."""
    issuer: str
    """Who signed it."""
    kind: Union[types.CertificateKind, str]
    """Whose it is."""
    node_name: Optional[str]
    """Its node, where it is a node's."""
    not_after: datetime
    """When it ends."""
    not_before: Optional[datetime]
    """When it began; null for one that an older hub issued."""
    pem: Optional[str]
    """The certificate itself, where it is the CA's: clients are told to trust it."""
    revoked_at: Optional[datetime]
    """When it was withdrawn."""
    serial: Optional[str]
    """Its serial number, hex; null for one that an older hub issued."""
    status: Union[types.CertificateStatus, str]
    """How it stands."""
    subject: str
    """Its distinguished name."""


class CertificatesRenewed(Model):
    """CertificatesRenewed"""

    message: str
    renewed: List[Certificate]
    """The new certificates."""
    status: str
    """Always ``success``."""


class AuditChain(Model):
    """Whether the chain holds."""

    entries: int
    """How many entries were looked at."""
    first_broken: Optional[int]
    """The first entry that does not fit."""
    intact: bool
    """Whether no entry was altered or taken out."""


class CloudCoreDeployed(Model):
    """CloudCoreDeployed"""

    created_at: datetime
    """When its Deployment was made."""
    deployment_name: str
    message: str
    namespace: str
    status: str
    """Always ``success``."""
    steps: Dict[str, str]
    """What was really done to each object: ``created``, ``updated`` or ``unchanged``."""


class CloudCorePod(Model):
    """A pod of the cluster's."""

    age: Optional[str]
    """Since it was made, for people."""
    age_seconds: Optional[int]
    name: str
    ready: str
    """Containers that are ready, of all."""
    restarts: int
    """Of its containers."""
    status: str
    """Its phase, or why it is in none, as ``CrashLoopBackOff``."""


class CloudCorePort(Model):
    """A port of this hub."""

    name: str
    """``cloudhub`` (QUIC, agents), ``http`` or ``https`` (the API), ``mqtt`` or ``mqtts``."""
    nodePort: Optional[int]
    """A cluster's; null without one."""
    port: int
    """Its number."""
    protocol: str
    """``UDP`` or ``TCP``."""


class CloudCoreService(Model):
    """CloudCoreService"""

    name: str
    ports: List[CloudCorePort]
    type: str
    """As the cluster has it; without one ``Host``: the ports are this machine's."""


class CloudCoreStanding(Model):
    """CloudCoreStanding"""

    pods: List[CloudCorePod]
    """Empty without a cluster."""
    services: List[CloudCoreService]
    started_at: datetime
    """When the hub started."""
    status: Union[types.CloudCoreRun, str]
    uptime: str
    """Since the hub started, for people."""
    uptime_seconds: int
    version: Optional[str]
    """The release of CloudCore that is wanted; without a cluster the hub's."""


class CommandSent(Model):
    """A command that was accepted."""

    command: str
    """What to do."""
    command_id: str
    """Its id."""
    device_id: str
    """To whom it goes."""
    expected_response_timeout: int
    """Its time, seconds."""
    sent_at: datetime
    """From when its time counts."""
    status: str
    """``success``: it is stored, and reaches the device or ends as ``expired``."""


class CommandStatus(Model):
    """How a command stands."""

    command: str
    """What to do."""
    command_id: str
    """Its id."""
    completed_at: Optional[datetime]
    """When it ended."""
    deadline: datetime
    """When its time is over."""
    device_id: str
    """To whom it went."""
    execution_time: Optional[str]
    """How long it ran."""
    execution_time_us: Optional[int]
    """The same, microseconds."""
    result: Optional[Dict[str, Any]]
    """What came of it: ``success``, and what the command gives, or ``error`` and ``message``.
    Null until it has ended."""
    sent_at: datetime
    """When it was accepted."""
    status: Union[types.CommandState, str]
    """Where it stands."""


class Configuration(Model):
    """The configuration, as the API shows it."""

    alerts: Thresholds
    cloudcore: ConfigurationCloudCore
    kubernetes: ConfigurationKubernetes
    limits: ConfigurationLimits
    retention: Retention
    retention_days: int
    """Days that heartbeats, detections, ended commands and pictures are kept."""
    security: ConfigurationSecurity


class ConfigurationChanged(Model):
    """ConfigurationChanged"""

    config: Configuration
    message: str
    status: str
    """Always ``success``."""


class ConfigurationCloudCore(Model):
    """ConfigurationCloudCore"""

    advertise_address: str
    """Host that agents are told."""
    advertise_port: Optional[int]
    """Port that agents are told."""
    nodeports: ConfigurationNodePorts
    ports: ConfigurationPorts
    version: str
    """The hub's release."""


class ConfigurationKubernetes(Model):
    """The cluster; null without one, and for what it does not let the hub know."""

    nodes: Optional[int]
    pods: Optional[int]
    """Those that have not ended."""
    version: Optional[str]
    """Its release."""


class ConfigurationLimits(Model):
    """ConfigurationLimits"""

    max_devices: int
    """Most devices that may be members."""


class ConfigurationNodePorts(Model):
    """A cluster's; null without one."""

    cloudhub: Optional[int]
    cloudstream: Optional[int]
    websocket: Optional[int]


class ConfigurationPorts(Model):
    """What listens; null where nothing does."""

    cloudhub: int
    """Agents join and link here, UDP."""
    cloudstream: Optional[int]
    """Of CloudCore in the cluster."""
    http: int
    """The API."""
    https: Optional[int]
    """The API over TLS."""
    websocket: Optional[int]
    """Of CloudCore in the cluster."""


class ConfigurationSecurity(Model):
    """ConfigurationSecurity"""

    rate_limit: int
    """Requests a minute for each caller; 0 is no limit."""
    rate_limiting: bool
    """Whether callers are limited."""
    require_tls: bool
    """Whether plain HTTP is refused from other machines."""
    tls_enabled: bool
    """Whether the API listens for TLS."""
    token_expiry: int
    """Life of a join token where a request names none, hours."""


class CreatedBackup(Backup):
    """What is known of a backup without opening it; stands beside it in the store. With
    more."""

    status: str
    """Always ``success``."""


class CreatedKey(ApiKeyInfo):
    """An API key that was made."""

    api_key: str
    """The key, for ``X-API-Key`` or ``Authorization: Bearer``. It is not shown again."""
    status: str
    """``success``."""


class Webhook(Model):
    """A webhook."""

    created_at: datetime
    """When it was made."""
    dropped: int
    """How many events were left out because so many waited."""
    events: List[Union[types.WebhookEvent, str]]
    """What of."""
    url: str
    """Where it posts."""
    waiting: int
    """How many deliveries wait for it, 10000 at most."""
    webhook_id: str
    """Its id."""


class CreatedWebhook(Webhook):
    """A webhook that was made."""

    secret: Optional[str]
    """The secret, when it was made here; it is not shown again. Null for one of yours."""
    status: str
    """``success``."""


class WebhookDelivery(Model):
    """A delivery, as the log shows one."""

    attempts: int
    """How often it was tried."""
    completed_at: Optional[datetime]
    """When it was delivered or given up."""
    created_at: datetime
    """When it happened."""
    delivery_id: str
    """Its id, the same in all attempts."""
    error: Optional[str]
    """Why the last attempt was none."""
    event: str
    """What happened."""
    next_attempt_at: Optional[datetime]
    """When it is tried next."""
    response_code: Optional[int]
    """What the server answered last."""
    status: str
    """``pending``, ``delivered`` or ``failed``."""


class DeviceAddress(Model):
    """An address of a device."""

    address: str
    """The address."""
    type: str
    """``InternalIP``, or what else the cluster calls it."""


class DeviceDetails(Model):
    """A device, without what other rooms know of it."""

    agent_version: Optional[str]
    """Release of its agent."""
    configuration: Dict[str, Any]
    """What it was joined with, and ``camera_enabled``."""
    device_id: str
    """Its id."""
    device_status: DeviceStatus
    """How it is."""
    device_type: Optional[str]
    """What it is."""
    joined: bool
    """Whether it is a member."""
    labels: Optional[Dict[str, Any]]
    """What its owner says of it."""
    location: Optional[str]
    """Where it is."""
    node: Optional[DeviceNode]
    """Its node; null where it is no node of a cluster."""
    node_name: str
    """Its node."""
    platform: DevicePlatform
    """What it runs on."""
    status: str
    """``Ready`` or ``NotReady``, by its Node object where the cluster has one."""


class DeviceJoined(Model):
    """A device that may join."""

    configmap_created: Optional[str]
    """The ConfigMap with the node's settings in a cluster; null where it was not made."""
    device_crd_created: Optional[str]
    """The Device in a cluster; null where it was not made."""
    device_id: str
    """Its id."""
    expires_at: datetime
    """When the token ends."""
    join_command: str
    """The line to run on the node; its token is not shown again."""
    keadm_join_command: Optional[str]
    """The line by which KubeEdge's own keadm makes the node one of the cluster; null without a
    cluster. ``KUBEEDGE_TOKEN`` is what ``keadm gettoken`` prints at the cluster: it is
    CloudCore's and not this hub's."""
    node_name: str
    """Its node."""
    node_ports: Optional[Dict[str, Any]]
    """The node ports of CloudCore in the cluster; null without one."""
    status: str
    """``success``."""
    steps: JoinSteps
    """What was really done."""
    warnings: List[str]
    """What was not done in the cluster, and why: it is done later, without another request."""


class DeviceMetrics(Model):
    """What a device did."""

    average_latency: Optional[str]
    """From frame to stored event, in the mean."""
    average_latency_ms: Optional[float]
    """The same, milliseconds."""
    total_detections: int
    """Objects that it saw."""
    uptime: Optional[str]
    """Since its machine started."""
    uptime_seconds: Optional[int]
    """The same, seconds."""


class DeviceNode(Model):
    """The node of a device, as the cluster has it."""

    addresses: List[DeviceAddress]
    pods_count: Optional[int]
    """Those that have not ended."""
    roles: List[str]
    status: str
    """``Ready`` or ``NotReady``."""
    version: Optional[str]
    """Of its kubelet, or edgecore."""


class DeviceOverview(DeviceDetails):
    """A device."""

    applications: List[Application]
    """What is to run on it."""
    metrics: DeviceMetrics
    """What it did."""


class DevicePicture(Model):
    """A picture that a device took."""

    bounding_box: Optional[Dict[str, Any]]
    """Where it is, in pixels of this picture."""
    command_id: Optional[str]
    """The command that asked for it, if one did."""
    confidence: Optional[float]
    """Its score in this picture, 0 to 1."""
    content_type: str
    """Media type."""
    detection_id: Optional[str]
    """The detected object that it was taken of, if it was."""
    image_url: str
    """Where anybody may open it, for an hour."""
    kind: Union[types.PictureKind, str]
    """Why it was taken: a ``command``, the device's schedule (``scheduled``, see
    ``capture_interval``), the best look at a detected object (``snapshot``), or what was there
    before one came (``pre_roll``)."""
    object: Optional[str]
    """That object's label."""
    sha256: str
    """SHA-256 of the file, hex."""
    size_bytes: int
    """The file's size."""
    timestamp: datetime
    """When, by the device's clock."""


class DevicePlatform(Model):
    """What a device runs on; null until it has said so."""

    arch: Optional[str]
    """Processor."""
    hostname: Optional[str]
    """Name of its machine."""
    os: Optional[str]
    """Operating system."""


class DeviceStatus(Model):
    """How a device is, by its last heartbeat; null is what none has said."""

    agent_version: Optional[str]
    """Release of its agent."""
    camera: Optional[str]
    """``none``, ``ready`` or ``lost``."""
    camera_error: Optional[str]
    """Why the camera is lost."""
    cpu_percent: Optional[float]
    """The same, per cent."""
    cpu_usage: Optional[str]
    """Load of all its cores."""
    detecting: Optional[bool]
    """Whether it watches its camera."""
    disk_total_bytes: Optional[int]
    """All of it, bytes."""
    disk_usage: Optional[str]
    """Of the disk that holds the agent's data: what is used, and all of it."""
    disk_used_bytes: Optional[int]
    """What is used of it, bytes."""
    last_heartbeat: Optional[datetime]
    """When it sent its last heartbeat, by its own clock."""
    last_seen: Optional[datetime]
    """When it last said something, by the hub's clock."""
    memory_total_bytes: Optional[int]
    """All memory, bytes."""
    memory_usage: Optional[str]
    """Memory in use, and all of it."""
    memory_used_bytes: Optional[int]
    """Memory in use, bytes."""
    online: bool
    """Whether it has a session now."""
    outbox_events: Optional[int]
    """Events that wait at the device."""
    reported: Optional[Dict[str, Any]]
    """What else a device without an agent says of itself: a sensor's readings."""
    temperature: Optional[str]
    """Its hottest sensor; null where it has none."""
    temperature_celsius: Optional[float]
    """The same, degrees Celsius."""
    uptime_seconds: Optional[int]
    """Since its machine started, seconds."""


class DeviceSummary(Model):
    """A device in a list."""

    addresses: List[DeviceAddress]
    """Its addresses, as its node has them in the cluster, or its agent sees them."""
    age: str
    """Since it was made known, or its node came to the cluster."""
    age_seconds: int
    """The same, seconds."""
    agent_version: Optional[str]
    """Release of its agent."""
    device_id: str
    """Its id."""
    device_type: Optional[str]
    """What it is."""
    joined: bool
    """Whether it is a member."""
    last_seen: Optional[datetime]
    """When it last said something."""
    location: Optional[str]
    """Where it is."""
    node_name: str
    """Its node."""
    pods_count: Optional[int]
    """Pods on its node that have not ended; null where it is no node of a cluster."""
    roles: List[str]
    """What its node is."""
    status: str
    """``Ready``, or ``NotReady`` 15 seconds after its session was lost; for a node of the
    cluster's, what its Node object says."""
    version: Optional[str]
    """Of its node in the cluster; elsewhere the release of its agent."""


class Done(Model):
    """That something was done."""

    message: str
    """For people."""
    status: str
    """``success``."""


class AuditEntry(Model):
    """An entry, as the API shows one."""

    action: str
    """What: method and route."""
    actor: str
    """Who: a user's name, an API key's id, or ``anonymous``."""
    address: str
    """From where."""
    hash: str
    """SHA-256 over the entry and the hash of the one before, hex."""
    id: int
    """Grows with each entry."""
    outcome: str
    """How it ended: ``done``, ``refused`` or ``failed``."""
    request_id: str
    """The request's id."""
    role: Optional[str]
    """What the actor may do."""
    status: int
    """The HTTP status."""
    target: str
    """To what: the path."""
    timestamp: datetime
    """When it was recorded."""


class Fleet(Model):
    """The fleet in numbers."""

    alerts: List[ActiveAlert]
    """The alerts that are active, newest first, 100 at most."""
    devices_by_type: Dict[str, int]
    """How many devices there are of each type; ``unknown`` where none was given."""
    summary: FleetSummary
    timestamp: datetime


class FleetSummary(Model):
    """FleetSummary"""

    average_latency: Optional[str]
    """From picture to detection, today; null where there was none."""
    average_latency_ms: Optional[float]
    offline_devices: int
    online_devices: int
    storage_used: str
    """Database and pictures."""
    storage_used_bytes: int
    total_detections_today: int
    """Since midnight UTC."""
    total_devices: int


class GeneratedToken(Model):
    """A join token."""

    expires_at: datetime
    """When it ends."""
    join_command: str
    """The line to run on the node."""
    node_name: str
    """The only node that it lets in."""
    status: str
    """``success``."""
    token: str
    """The token; it is not shown again."""


class Health(Model):
    """How the hub is, for anybody."""

    components: HealthComponents
    status: str
    """``healthy``, or ``unhealthy`` where the database is away."""
    timestamp: datetime
    version: str
    """The hub's release."""


class HealthComponents(Model):
    """HealthComponents"""

    cloudcore: str
    """``running``, or ``maintenance`` while the hub takes no joins, commands and deploys."""
    database: str
    """``connected`` or ``disconnected``."""
    kubernetes: str
    """``connected`` or ``disconnected``; ``not_configured`` where this hub has no cluster."""


class HubComponent(Model):
    """HubComponent"""

    latency_ms: Optional[float]
    """How long a small request took; null for what was asked for none."""
    status: str


class HubComponents(Model):
    """HubComponents"""

    cloudcore: HubComponent
    """``running`` or ``maintenance``."""
    database: HubComponent
    """``connected`` or ``disconnected``."""
    kubernetes: HubComponent
    """``connected`` or ``disconnected``; ``not_configured`` where this hub has no cluster."""
    link: HubLink
    """The agents' port: ``running``."""
    object_store: HubComponent
    """Where pictures and backups are: ``connected`` or ``disconnected``."""


class HubHealth(Model):
    """HubHealth"""

    components: HubComponents
    memory_bytes: Optional[int]
    memory_usage: Optional[str]
    """Resident memory of the hub, for people."""
    status: Union[types.HubStanding, str]
    timestamp: datetime
    uptime: str
    """Since the hub started, for people."""
    uptime_seconds: int
    version: str
    """The hub's release."""


class HubLink(Model):
    """HubLink"""

    latency_ms: Optional[float]
    """As of the other parts; nothing is asked of agents here."""
    sessions: int
    """Agents that are connected."""
    status: str


class JoinSteps(Model):
    """What was really done."""

    configmap_created: bool
    """The cluster has the node's settings."""
    device_crd_created: bool
    """The cluster has the device's object."""
    rbac_configured: bool
    """The node's account may read its settings in the cluster."""
    token_generated: bool
    """The node has a token."""


class ListedAlert(Model):
    """ListedAlert"""

    active: bool
    """Whether it has not ended."""
    device_id: str
    ended_at: Optional[datetime]
    """When it ended."""
    level: str
    """``critical`` or ``warning`` while it is active, ``info`` once it has ended; as in the
    events."""
    message: str
    """For people."""
    started_at: datetime
    """The same."""
    timestamp: datetime
    """When it began."""
    type: str
    """``high_cpu``, ``high_memory``, ``high_temperature``, ``disk_full``, ``offline``,
    ``camera_lost``, ``outbox_full``, ``certificate_expiring``; more may come."""


class ListedDetection(Model):
    """An object that was detected, from its start to its end."""

    bounding_box: Optional[Dict[str, Any]]
    """Where it was then, in pixels of the frame."""
    confidence: float
    """The best score, 0 to 1."""
    detection_id: Optional[str]
    """Its id; null for one of a device that gives none."""
    device_id: str
    ended_at: Optional[datetime]
    """When it went; null while it is there."""
    frame_height: int
    frame_width: int
    image_url: Optional[str]
    """The best picture of it, which anybody may open for an hour; ``&boxes=true`` draws the
    object's box into it. Null where there is none.
    ``device/{device_id}/pictures?detection_id=`` has this one with the object's box in it, and
    those from before it came."""
    model: str
    object: str
    started_at: datetime
    """When it came, by the device's clock."""
    track_id: int
    """The device's own number of it."""
    zones: List[str]
    """The zones that it was in."""


class MaintenanceChanged(Model):
    """MaintenanceChanged"""

    maintenance: MaintenanceStanding
    message: str
    status: str
    """Always ``success``."""


class MaintenanceStanding(Model):
    """Whether there is maintenance, and since when."""

    active: bool
    """Whether joins, commands and deploys are refused now."""
    by: Optional[str]
    """Who began it."""
    reason: Optional[str]
    """Why, as given."""
    since: Optional[datetime]
    """Since when."""


class CatalogModel(Model):
    """A model, as the API shows one."""

    family: str
    """What its outputs mean."""
    input: Dict[str, Any]
    """What its input must look like."""
    labels: List[str]
    """Names of its classes."""
    licence: str
    """Terms of use."""
    model: str
    """What commands name it by."""
    name: str
    """Its name."""
    sha256: str
    """SHA-256 of the ONNX file, hex."""
    size_bytes: int
    """Size of the ONNX file."""
    source: str
    """Where it comes from."""
    uploaded_at: datetime
    """When it came."""
    uploaded_by: str
    """Who brought it."""
    version: str
    """The version of its weights."""


class UploadedModel(CatalogModel):
    """A model, as the API shows one. With more."""

    status: str
    """Always ``success``."""


class RemovedDevice(Model):
    """A device that was removed."""

    actions_taken: List[str]
    """What was really done."""
    message: str
    """For people."""
    status: str
    """``success``."""
    warnings: List[str]
    """What the cluster still has of it, and why; what can be removed is removed later, without
    another request."""


class Restoration(Model):
    """What a restore did."""

    backup_created_at: datetime
    """When the backup was made."""
    restored: List[Union[types.BackupInclude, str]]
    """What was put back."""
    rows: int
    """Rows that were read."""
    sessions_closed: int
    """Sessions that were cut, because their devices are no members any more."""
    skipped: List[Union[types.BackupInclude, str]]
    """What was not, although it is in the backup."""


class RestoreAnswer(Restoration):
    """What a restore did. With more."""

    backup_id: str
    message: str
    status: str
    """Always ``success``."""


class Retention(Model):
    """How long what was detected is kept."""

    objects: Optional[Dict[str, int]]
    """Days that detections of an object are kept, with their pictures, by its label
    (``person``); ``*`` is for all others. Where neither is there, ``retention_days``."""


class Session(Model):
    """A session."""

    token: str
    """A JWT for ``Authorization: Bearer``."""
    user: User
    """Whose it is."""


class MqttStanding(Model):
    """How MQTT is."""

    broker: str
    """The broker."""
    broker_tls: Optional[str]
    """The broker by TLS, where it listens for it."""
    connected: bool
    """Whether the broker can be reached."""
    connections: Optional[int]
    """Clients of the hub's own broker; null where the broker is another."""
    max_connections: Optional[int]
    """Most of them at once."""
    messages_refused: int
    """Messages that were malformed, or asked for what can't be, since the hub started."""
    own: bool
    """Whether the broker is the hub's own."""


class TestReport(Model):
    """Tests and what came of them."""

    completed_at: Optional[datetime]
    """When the last of them ended."""
    device_id: str
    """The device that ran them."""
    results: List[TestResult]
    """Each of them, in the order asked for."""
    started_at: datetime
    """When they began."""
    status: Union[types.TestStatus, str]
    """Where they stand as a whole."""
    test_id: str
    """Their id."""


class TestResult(Model):
    """One test and what came of it."""

    details: Optional[Dict[str, Any]]
    """What the device found."""
    error: Optional[str]
    """Why it failed."""
    latency: Optional[str]
    """What it took: for ``ping`` the way there and back, for the others the test on the
    device."""
    latency_ms: Optional[float]
    """The same, milliseconds."""
    status: Union[types.TestVerdict, str]
    """How it went."""
    test: Union[types.ConnectionTest, str]
    """Which test."""


class TestStarted(Model):
    """Tests that began."""

    device_id: str
    """The device that runs them."""
    started_at: datetime
    """When they began."""
    status: str
    """``success``: they have begun."""
    test_id: str
    """For their results."""
    tests: List[Union[types.ConnectionTest, str]]
    """Which."""


class WebhookTested(Model):
    """What came of a test."""

    delivery_id: str
    """What the log has it under."""
    error: Optional[str]
    """Why it did not."""
    response_code: Optional[int]
    """What the server answered."""
    status: str
    """``success`` when the server said 2xx, else ``failed``."""


class Thresholds(Model):
    """When an alert begins."""

    certificate_days: Optional[int]
    """``certificate_expiring`` below this, days."""
    cpu_percent: Optional[int]
    """``high_cpu`` above this, per cent."""
    cpu_seconds: Optional[int]
    """... for so long, seconds."""
    disk_percent: Optional[int]
    """``disk_full`` above this, per cent."""
    memory_percent: Optional[int]
    """``high_memory`` above this, per cent."""
    temperature_celsius: Optional[int]
    """``high_temperature`` above this, degrees Celsius."""


class Ticket(Model):
    """A ticket."""

    expires_at: datetime
    """When it ends."""
    ticket: str
    """For ``?ticket=`` of the event stream or the WebSocket; good for one use."""


class TokenInfo(Model):
    """A token, as the API lists one."""

    created_at: datetime
    """When it was made."""
    description: Optional[str]
    """Why, for people."""
    device_id: Optional[str]
    """The device, where that is settled."""
    expires_at: datetime
    """When it ends."""
    node_name: str
    """The only node it lets in."""
    reusable: bool
    """Whether the node may join with it again until it expires."""
    status: Union[types.TokenStatus, str]
    """How it stands."""


class TokenRevoked(Model):
    """A node whose tokens were withdrawn."""

    certificates_revoked: bool
    """Whether a member was cut off."""
    message: str
    """For people."""
    status: str
    """``success``."""
    tokens_revoked: int
    """How many tokens were withdrawn."""


class MqttTopics(Model):
    """A device's topics."""

    command: str
    """Subscribe: its commands."""
    detection: str
    """Publish: what it saw."""
    result: str
    """Publish: how a command ended."""
    status: str
    """Publish, retained, also as last will: how it is."""


class User(Model):
    """A user, as the API shows one."""

    id: int
    """Number of the user."""
    role: Union[types.Role, str]
    """What the user may do."""
    username: str
    """Name of the user."""


class UserInfo(Model):
    """A user, as a list shows one."""

    created_at: datetime
    """When the user was made."""
    disabled: bool
    """Whether the user may not log in."""
    id: int
    """Number of the user."""
    role: Union[types.Role, str]
    """What the user may do."""
    username: str
    """Name of the user."""
