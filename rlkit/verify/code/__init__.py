"""Code answers: a program is run against tests, each in a sandbox, and compared outside of it."""
