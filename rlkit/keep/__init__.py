"""What of a run outlives its process: checkpoints, how far it has come, whether a start goes on, a copy elsewhere."""
