"""TrainBatch -> new weights: models, the update, and the Ray actor round it."""
