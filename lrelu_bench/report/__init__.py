"""From runs on disk to what people read: rows first (`compare`), then drawing them (`render`)."""
