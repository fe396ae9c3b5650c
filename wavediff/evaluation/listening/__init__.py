"""Listening tests: a page to take, a server that collects answers, and their statistics."""
