"""Denoising networks: ``network(x [batch, channels, time], c_noise [batch], cond) -> like x``.

A network may offer ``prepare(cond)``, whose result arrives in ``cond.prepared`` at every call, also
where x holds several samples of each item that was prepared, all items of a sample together; and
``receptive_field``: how many frames on either side of a frame its output depends on. Where it
has strides, ``stride`` is the number of frames by whose multiples it commutes with shifts.
"""
