"""What a user loads and calls: tasks, each a model with its front-ends.

Nothing is imported here: the names of checkpoints are found before torch is loaded.
"""
