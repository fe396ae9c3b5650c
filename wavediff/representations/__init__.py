"""Invertible representations of audio, and mel front-ends.

A representation is a ``Representation``: it maps audio ``[batch, 1, time]`` of any length to
z ``[batch, channels, frames]`` and back, without learned weights. Its constructor takes the keyword
``mel``, the mel front-end of the task.
"""
