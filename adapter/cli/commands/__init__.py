"""The commands, a file for each concern. They return their exit codes."""
