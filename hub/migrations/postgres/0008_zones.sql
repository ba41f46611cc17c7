-- Names of the zones that an object was in, a JSON array.
ALTER TABLE detections ADD COLUMN zones TEXT;
