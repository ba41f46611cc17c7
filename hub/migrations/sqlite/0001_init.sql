-- Times are microseconds since the epoch: text of varying precision sorts wrongly.

CREATE TABLE users (
    id            INTEGER PRIMARY KEY,
    username      TEXT NOT NULL UNIQUE,
    password_hash TEXT NOT NULL,
    role          TEXT NOT NULL,
    created_at    BIGINT NOT NULL
);

CREATE TABLE devices (
    id            INTEGER PRIMARY KEY,
    device_id     VARCHAR(100) NOT NULL UNIQUE,
    node_name     VARCHAR(100) NOT NULL UNIQUE,
    device_type   VARCHAR(50),
    location      VARCHAR(200),
    status        VARCHAR(20) NOT NULL,
    last_seen     BIGINT,
    configuration TEXT NOT NULL DEFAULT '{}',
    created_at    BIGINT NOT NULL,
    joined_at     BIGINT,
    agent_version TEXT,
    hello         TEXT,
    heartbeat     TEXT,
    heartbeat_at  BIGINT
);

CREATE TABLE tokens (
    id          INTEGER PRIMARY KEY,
    token_hash  VARCHAR(256) NOT NULL UNIQUE,
    node_name   VARCHAR(100) NOT NULL,
    device_id   VARCHAR(100),
    description TEXT,
    reusable    BOOLEAN NOT NULL DEFAULT FALSE,
    expires_at  BIGINT NOT NULL,
    used        BOOLEAN NOT NULL DEFAULT FALSE,
    used_at     BIGINT,
    used_by_key VARCHAR(64),
    revoked_at  BIGINT,
    created_at  BIGINT NOT NULL
);
CREATE INDEX tokens_node_name ON tokens (node_name);

CREATE TABLE certificates (
    fingerprint VARCHAR(64) PRIMARY KEY,
    node_name   VARCHAR(100) NOT NULL,
    device_id   VARCHAR(100) NOT NULL,
    not_after   BIGINT NOT NULL,
    revoked_at  BIGINT,
    created_at  BIGINT NOT NULL
);
CREATE INDEX certificates_node_name ON certificates (node_name);

CREATE TABLE commands (
    id             INTEGER PRIMARY KEY,
    command_id     VARCHAR(100) NOT NULL UNIQUE,
    device_id      VARCHAR(100) NOT NULL,
    command_type   VARCHAR(50) NOT NULL,
    parameters     TEXT NOT NULL,
    status         VARCHAR(20) NOT NULL,
    result         TEXT,
    timeout_s      BIGINT NOT NULL,
    sent_at        BIGINT NOT NULL,
    deadline       BIGINT NOT NULL,
    started_at     BIGINT,
    completed_at   BIGINT,
    execution_us   BIGINT
);
CREATE INDEX commands_open ON commands (device_id, id)
    WHERE status IN ('queued', 'sent', 'running');
CREATE INDEX commands_deadline ON commands (deadline)
    WHERE status IN ('queued', 'sent', 'running');

CREATE INDEX commands_completed ON commands (completed_at);

-- The last event that was committed, per outbox and lane: what makes a repeat a repeat.
CREATE TABLE outboxes (
    device_id VARCHAR(100) NOT NULL,
    outbox_id BIGINT NOT NULL,
    lane      INTEGER NOT NULL,
    last_seq  BIGINT NOT NULL,
    PRIMARY KEY (device_id, outbox_id, lane)
);

CREATE TABLE heartbeats (
    id          INTEGER PRIMARY KEY,
    device_id   VARCHAR(100) NOT NULL,
    at          BIGINT NOT NULL,
    received_at BIGINT NOT NULL,
    body        TEXT NOT NULL
);
CREATE INDEX heartbeats_received ON heartbeats (received_at);

CREATE TABLE detections (
    id            INTEGER PRIMARY KEY,
    device_id     VARCHAR(100) NOT NULL,
    track_id      BIGINT NOT NULL,
    phase         VARCHAR(10) NOT NULL,
    object        VARCHAR(100) NOT NULL,
    confidence    REAL NOT NULL,
    bounding_box  TEXT NOT NULL,
    frame_width   INTEGER NOT NULL,
    frame_height  INTEGER NOT NULL,
    model         TEXT NOT NULL,
    captured_at   BIGINT NOT NULL,
    received_at   BIGINT NOT NULL,
    latency_us    BIGINT NOT NULL
);
CREATE INDEX detections_device ON detections (device_id, phase);
CREATE INDEX detections_received ON detections (received_at);

-- Counts outlive the detections they count.
CREATE TABLE detection_totals (
    device_id  VARCHAR(100) PRIMARY KEY,
    detections BIGINT NOT NULL,
    latency_us BIGINT NOT NULL
);

CREATE TABLE alerts (
    id         INTEGER PRIMARY KEY,
    device_id  VARCHAR(100) NOT NULL,
    kind       VARCHAR(50) NOT NULL,
    message    TEXT NOT NULL,
    started_at BIGINT NOT NULL,
    ended_at   BIGINT
);
CREATE UNIQUE INDEX alerts_active ON alerts (device_id, kind) WHERE ended_at IS NULL;

CREATE TABLE blobs (
    device_id    VARCHAR(100) NOT NULL,
    hash         VARCHAR(64) NOT NULL,
    size         BIGINT NOT NULL,
    content_type VARCHAR(100) NOT NULL,
    command_id   VARCHAR(100),
    created_at   BIGINT NOT NULL,
    PRIMARY KEY (device_id, hash)
);
CREATE INDEX blobs_created ON blobs (created_at);
