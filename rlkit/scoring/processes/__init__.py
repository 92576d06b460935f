"""Scoring processes: start them, send them groups, and replace those that hang or die."""
