"""The command `memgroup`: `main` is its entry, `command` its arguments; subcommands have separate files."""
