"""Recipe + machine -> what will happen, in numbers, and why it cannot run here. Nothing is started."""
