"""StepSamples -> TrainBatch, advantages, log-probs and loss: pure functions of tensors, no I/O."""
