"""The command `memgroup`: `main` is its door, `command` its arguments, and each subcommand has a room."""
