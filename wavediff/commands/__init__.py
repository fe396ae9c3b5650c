"""The commands: each parses its line, loads, calls and writes."""
