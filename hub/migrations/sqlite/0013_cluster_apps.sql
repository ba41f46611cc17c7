-- Which node of the cluster runs an app for a device; null where the device's own engine does.
ALTER TABLE app_devices ADD COLUMN node VARCHAR(253);
-- How often its engine has restarted it, and what its health check says.
ALTER TABLE app_devices ADD COLUMN restarts BIGINT;
ALTER TABLE app_devices ADD COLUMN health VARCHAR(20);
-- JSON, [{"host": …, "container": …}]; null where nobody has said.
ALTER TABLE apps ADD COLUMN ports TEXT;

-- What is in the cluster for an app on a node, or is to be: wanted while app_devices has it there and
-- not as removed. `told` is sealed by the hub's key; a new order is a new revision.
CREATE TABLE cluster_apps (
    app      VARCHAR(63) NOT NULL,
    node     VARCHAR(253) NOT NULL,
    told     TEXT NOT NULL,
    revision BIGINT NOT NULL,
    PRIMARY KEY (app, node)
);
