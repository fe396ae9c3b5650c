"""Denoising networks: ``network(x [batch, channels, time], c_noise [batch], cond) -> like x``.

Optional members of a network:

    prepare(cond)     features that do not depend on x and t, passed as ``cond.prepared`` to every
                      call; x may hold several samples of each prepared item, all items of a sample
                      together
    receptive_field   frames on either side that a frame of the output depends on
    stride            the network commutes with shifts by multiples of this number of frames
"""
