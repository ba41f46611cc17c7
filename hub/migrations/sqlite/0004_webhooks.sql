CREATE TABLE webhooks (
    id         INTEGER PRIMARY KEY,
    webhook_id VARCHAR(40) NOT NULL UNIQUE,
    url        TEXT NOT NULL,
    events     TEXT NOT NULL,
    -- Sealed: it signs what is sent.
    secret     TEXT NOT NULL,
    -- Events that found its outbox full.
    dropped    BIGINT NOT NULL DEFAULT 0,
    created_at BIGINT NOT NULL
);

-- What has to be delivered, was, or could not be. Written with the event that it tells of.
CREATE TABLE webhook_deliveries (
    id              INTEGER PRIMARY KEY,
    delivery_id     VARCHAR(40) NOT NULL UNIQUE,
    webhook_id      VARCHAR(40) NOT NULL,
    event           VARCHAR(50) NOT NULL,
    data            TEXT NOT NULL,
    status          VARCHAR(20) NOT NULL,
    attempts        BIGINT NOT NULL DEFAULT 0,
    next_attempt_at BIGINT,
    response_code   BIGINT,
    error           TEXT,
    created_at      BIGINT NOT NULL,
    completed_at    BIGINT
);
CREATE INDEX webhook_deliveries_due ON webhook_deliveries (webhook_id, next_attempt_at)
    WHERE status = 'pending';
CREATE INDEX webhook_deliveries_log ON webhook_deliveries (webhook_id, id);
CREATE INDEX webhook_deliveries_completed ON webhook_deliveries (completed_at);
