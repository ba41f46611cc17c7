-- Devices that live on MQTT alone. The hash is that of the password: 256 random bits, which need
-- no salt; none where the broker is somebody else's and knows its clients itself. A row whose
-- device was shut out stays, so that no restore lets it in again.
CREATE TABLE mqtt_devices (
    device_id   VARCHAR(100) PRIMARY KEY,
    secret_hash VARCHAR(64),
    created_at  BIGINT NOT NULL,
    created_by  VARCHAR(150) NOT NULL,
    ended_at    BIGINT
);
