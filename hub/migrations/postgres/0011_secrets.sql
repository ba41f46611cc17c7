-- Whether secrets were taken out of the parameters: 'none' were there, or they are 'hidden'; null
-- where nobody has looked yet.
ALTER TABLE commands ADD COLUMN secrets VARCHAR(10);
-- The whole parameters where some are hidden, sealed by the hub's key, as long as it is open.
ALTER TABLE commands ADD COLUMN sealed TEXT;
CREATE INDEX commands_unseen ON commands (id) WHERE secrets IS NULL;
