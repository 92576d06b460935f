"""Processes that score: started, watched, ended where they are late, replaced."""
