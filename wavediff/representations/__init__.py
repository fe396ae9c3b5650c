"""Invertible front-ends: audio [B, 1, T] to z [B, channels, frames] and back, any length.

Every representation is an `nn.Module` without learnable weights and has

    channels     C, rows of z
    hop_length   audio samples per frame of z
    halo         frames of z on either side on which a decoded frame depends
    frames(length) -> ceil(length / hop_length)
    encode(audio, mel=None) -> z
    decode(z, length, mel=None) -> audio [B, 1, length], with decode(encode(x)) = x

and takes the keyword `mel`, the mel front-end of its task, at construction.
"""
