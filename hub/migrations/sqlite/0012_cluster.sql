-- Nodes whose device was removed and that the cluster has not let go of yet. Whoever works on one
-- has it until `due_at`.
CREATE TABLE cluster_removals (
    node_name VARCHAR(100) PRIMARY KEY,
    device_id VARCHAR(100) NOT NULL,
    device_type VARCHAR(50),
    attempts BIGINT NOT NULL,
    due_at BIGINT NOT NULL
);
CREATE INDEX cluster_removals_due ON cluster_removals (due_at);
