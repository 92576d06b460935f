"""What `rlkit reward` and `rlkit verify` do: score files, test plugins, write a new one. No GPU and no cluster."""
