-- What the list of certificates shows, and a number to page by.
CREATE TABLE certificates_new (
    id          INTEGER PRIMARY KEY,
    fingerprint VARCHAR(64) NOT NULL UNIQUE,
    serial      VARCHAR(64),
    node_name   VARCHAR(100) NOT NULL,
    device_id   VARCHAR(100) NOT NULL,
    not_before  BIGINT,
    not_after   BIGINT NOT NULL,
    revoked_at  BIGINT,
    created_at  BIGINT NOT NULL
);
INSERT INTO certificates_new (fingerprint, node_name, device_id, not_after, revoked_at, created_at)
SELECT fingerprint, node_name, device_id, not_after, revoked_at, created_at
FROM certificates ORDER BY created_at;
DROP TABLE certificates;
ALTER TABLE certificates_new RENAME TO certificates;
CREATE INDEX certificates_node_name ON certificates (node_name);
CREATE INDEX certificates_not_after ON certificates (not_after);

-- A restore of the hub's keys whose database part is done and whose files may not be in place yet.
CREATE TABLE restored_keys (
    restore_id VARCHAR(64) PRIMARY KEY
);
