"""Tasks: models with their front-ends, which a user loads and calls.

Nothing is imported here, so that checkpoints can be looked up by name without loading torch.
"""
