"""Tests that need root: real disks that are full, read-only or dying."""
