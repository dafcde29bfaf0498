"""What a queue of S3 events says: parsed, kept count of, and turned into shards."""
