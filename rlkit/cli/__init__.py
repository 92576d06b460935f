"""The `rlkit` command. Each subcommand has its own file: it parses arguments, calls a room and returns an exit code."""
