-- The catalog of models. The bytes are objects by their hash, which versions may share.
CREATE TABLE models (
    id          INTEGER PRIMARY KEY,
    name        VARCHAR(64) NOT NULL,
    version     VARCHAR(64) NOT NULL,
    sha256      VARCHAR(64) NOT NULL,
    size        BIGINT NOT NULL,
    description TEXT NOT NULL,
    uploaded_at BIGINT NOT NULL,
    uploaded_by VARCHAR(100) NOT NULL,
    UNIQUE (name, version)
);
CREATE INDEX models_sha256 ON models (sha256);
