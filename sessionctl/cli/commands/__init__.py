"""One command, one file: found by name, loaded when called."""
