"""The mathematics of RL: batches, advantages, log-probs and losses, as pure functions of tensors. No I/O."""
