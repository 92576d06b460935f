"""Saves and resumes runs: checkpoints, progress, the decision between start and resume, the mirror."""
