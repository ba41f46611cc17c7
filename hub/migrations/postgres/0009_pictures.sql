-- Which pictures a device took; the same bytes may have been taken twice.
CREATE TABLE pictures (
    device_id   VARCHAR(100) NOT NULL,
    captured_at BIGINT NOT NULL,
    hash        VARCHAR(64) NOT NULL,
    command_id  VARCHAR(100),
    created_at  BIGINT NOT NULL,
    PRIMARY KEY (device_id, captured_at, hash)
);
CREATE INDEX pictures_created ON pictures (created_at);
