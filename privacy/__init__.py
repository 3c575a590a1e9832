"""Pure: frames, zones, detection, masking, sealing, signed records. No driver, no network."""
