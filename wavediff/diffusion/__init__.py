"""Conditional Gaussian diffusion over tensors of shape ``[batch, channels, time]``.

    x_t = alpha_t x_0 + anchor_t y + sigma_t eps

``schedule`` gives the three numbers, ``forward`` makes x_t, ``denoiser`` estimates x_0 from it,
``objective`` trains the denoiser, ``reverse`` walks a grid of ``times`` back to x_0.
Nothing in here knows what the signal is; only torch is imported.
"""
