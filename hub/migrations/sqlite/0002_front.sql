-- Who may call, what was done, and what the front remembers.

ALTER TABLE users ADD COLUMN disabled BOOLEAN NOT NULL DEFAULT FALSE;
-- Grows when the user's sessions end: a session holds while it has this number.
ALTER TABLE users ADD COLUMN session_epoch BIGINT NOT NULL DEFAULT 0;

CREATE TABLE api_keys (
    id           INTEGER PRIMARY KEY,
    key_id       VARCHAR(40) NOT NULL UNIQUE,
    key_hash     VARCHAR(64) NOT NULL UNIQUE,
    name         VARCHAR(100) NOT NULL,
    role         VARCHAR(20) NOT NULL,
    created_by   VARCHAR(100) NOT NULL,
    created_at   BIGINT NOT NULL,
    expires_at   BIGINT,
    last_used_at BIGINT
);

-- Stand-ins for a token in a URL: short-lived, used once.
CREATE TABLE tickets (
    ticket_hash VARCHAR(64) PRIMARY KEY,
    identity    TEXT NOT NULL,
    expires_at  BIGINT NOT NULL
);

-- Append-only; each row's hash covers the row and the hash of the one before.
CREATE TABLE audit_log (
    id         INTEGER PRIMARY KEY,
    at         BIGINT NOT NULL,
    actor      VARCHAR(150) NOT NULL,
    role       VARCHAR(20),
    address    VARCHAR(64) NOT NULL,
    action     VARCHAR(200) NOT NULL,
    target     TEXT NOT NULL,
    outcome    VARCHAR(20) NOT NULL,
    status     BIGINT NOT NULL,
    request_id VARCHAR(64) NOT NULL,
    hash       VARCHAR(64) NOT NULL
);

CREATE TABLE settings (
    name       VARCHAR(100) PRIMARY KEY,
    value      TEXT NOT NULL,
    changed_at BIGINT NOT NULL,
    changed_by VARCHAR(150) NOT NULL
);

-- First answers to POSTs with an Idempotency-Key; an answer is sealed, since it may show a secret.
CREATE TABLE idempotency_keys (
    caller       VARCHAR(150) NOT NULL,
    key          VARCHAR(255) NOT NULL,
    request_hash VARCHAR(64) NOT NULL,
    status       BIGINT,
    answer       TEXT,
    created_at   BIGINT NOT NULL,
    PRIMARY KEY (caller, key)
);
CREATE INDEX idempotency_keys_created ON idempotency_keys (created_at);

CREATE TRIGGER audit_log_update BEFORE UPDATE ON audit_log
BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
CREATE TRIGGER audit_log_delete BEFORE DELETE ON audit_log
BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
