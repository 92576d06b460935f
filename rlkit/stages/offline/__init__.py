"""Stages that learn from files with TRL's trainers, each in its own Ray actor."""
