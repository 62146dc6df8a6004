"""Measurements against the raw drivers and the peers: ratios in one run, never a timed test."""
