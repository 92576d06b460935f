"""What can be done to a model: each kind of stage is a class of its own, found through the registry."""
