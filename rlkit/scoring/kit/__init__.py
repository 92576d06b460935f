"""The reward kit: files scored, judges and plugins tried, a plugin begun. No GPU and no cluster."""
