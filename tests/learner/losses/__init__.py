"""Losses as a stranger would write them, right and wrong ones."""
