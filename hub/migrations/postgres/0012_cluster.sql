-- Nodes whose device was removed while the cluster did not let go of them: what is still to be done.
CREATE TABLE cluster_removals (
    node_name VARCHAR(100) PRIMARY KEY,
    device_id VARCHAR(100) NOT NULL,
    device_type VARCHAR(50),
    requested_at BIGINT NOT NULL
);
