-- Pictures of detected objects. Two objects of one frame share its picture, so the picture's key has
-- the object in it; '' is a picture of no object.
ALTER TABLE detections ADD COLUMN detection_id VARCHAR(40);
CREATE INDEX detections_track ON detections (device_id, track_id);
CREATE INDEX detections_object ON detections (object, received_at);

CREATE TABLE pictures_new (
    id           INTEGER PRIMARY KEY,
    device_id    VARCHAR(100) NOT NULL,
    captured_at  BIGINT NOT NULL,
    hash         VARCHAR(64) NOT NULL,
    detection_id VARCHAR(40) NOT NULL DEFAULT '',
    kind         VARCHAR(20) NOT NULL,
    command_id   VARCHAR(100),
    object       VARCHAR(100),
    confidence   DOUBLE PRECISION,
    bounding_box TEXT,
    created_at   BIGINT NOT NULL,
    UNIQUE (device_id, captured_at, hash, detection_id)
);
INSERT INTO pictures_new (device_id, captured_at, hash, kind, command_id, created_at)
SELECT device_id, captured_at, hash,
       CASE WHEN command_id IS NULL THEN 'scheduled' ELSE 'command' END, command_id, created_at
FROM pictures;
DROP TABLE pictures;
ALTER TABLE pictures_new RENAME TO pictures;
CREATE INDEX pictures_created ON pictures (created_at) WHERE object IS NULL;
CREATE INDEX pictures_object ON pictures (object, created_at) WHERE object IS NOT NULL;
CREATE INDEX pictures_detection ON pictures (detection_id) WHERE detection_id <> '';
CREATE INDEX pictures_hash ON pictures (device_id, hash);
