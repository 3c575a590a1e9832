"""Identity and installation: keys and certificates on disk, signed records, model files."""
