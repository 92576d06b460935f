"""Plans a recipe on a machine: defaults, steps, memory, placement, and reasons why it cannot run. Starts nothing."""
