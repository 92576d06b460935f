"""Metrics, events, log files and console output of a run."""
