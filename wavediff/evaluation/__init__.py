"""Metrics of estimates against references, and reports."""
