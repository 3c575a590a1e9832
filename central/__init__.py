"""The reference receiving end: keys, signing, ingest, opening and verifying clips."""
