"""The kinds of training stages. Each kind is a class; the registry maps its name to the class."""
