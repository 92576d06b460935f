"""Trains the policy: the networks, the update of a step, checkpoints of its state, and the Ray actors around it."""
