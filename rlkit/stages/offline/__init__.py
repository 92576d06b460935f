"""Stages that learn from files, on TRL's trainers, each in a Ray actor of its own."""
