"""What a run shows: metrics of a step, events, the log on disk, the lines and tables on the console."""
