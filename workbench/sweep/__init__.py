"""Sweeps: many runs of one configuration with some fields changed, on this machine or on a cluster."""
