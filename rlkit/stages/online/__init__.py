"""Stages that learn from samples of their own: the loop, its collector, evaluator, keeper and log."""
