-- Which app is to run on which devices, and which commands make it so.
CREATE TABLE apps (
    id         INTEGER PRIMARY KEY,
    name       VARCHAR(63) NOT NULL UNIQUE,
    image      VARCHAR(500) NOT NULL,
    config     TEXT NOT NULL,
    cpu        VARCHAR(40),
    memory     VARCHAR(40),
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);

CREATE TABLE app_devices (
    app        VARCHAR(63) NOT NULL,
    device_id  VARCHAR(100) NOT NULL,
    -- As this device is told, which may be older than the app's.
    image      VARCHAR(500) NOT NULL,
    status     VARCHAR(20) NOT NULL,
    reason     VARCHAR(50),
    message    TEXT,
    port       BIGINT,
    command_id VARCHAR(100),
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (app, device_id)
);
CREATE INDEX app_devices_device ON app_devices (device_id);

-- A test is its commands: JSON, [[test, command_id], …]. What came of it stands with them.
CREATE TABLE connection_tests (
    test_id    VARCHAR(40) PRIMARY KEY,
    device_id  VARCHAR(100) NOT NULL,
    commands   TEXT NOT NULL,
    started_at BIGINT NOT NULL
);
CREATE INDEX connection_tests_started ON connection_tests (started_at);

CREATE INDEX commands_device ON commands (device_id, id);
