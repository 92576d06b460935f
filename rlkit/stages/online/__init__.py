"""RL stages, which learn from the policy's own samples: the loop, collector, evaluator, checkpoints and log."""
