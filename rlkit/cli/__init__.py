"""The `rlkit` command, a file a word: arguments in, a call of the room that does it, an exit code out."""
