"""The loop, checkpoints, logging and distribution.

A batch is a pure function of the step: item i of step s is sample s * batch_size + i, in data,
noise and dropout alike. What a run must remember is therefore only weights, averaged weights,
optimizer, scaler, step and counters.
"""
