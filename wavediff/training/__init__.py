"""Training: the loop, checkpoints, logging and distribution.

A batch is a pure function of the step: item i of step s is sample s * batch_size + i, for data,
noise and dropout alike. The state of a run is therefore only the weights, their moving average,
the optimizer, the gradient scaler, the step and a few counters.
"""
