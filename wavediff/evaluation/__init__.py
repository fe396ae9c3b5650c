"""Measures of what came out: an estimate beside its reference."""
