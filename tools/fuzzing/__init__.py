"""Malformed inputs of the commands, drawn at random. See ``tools/fuzz.py``."""
