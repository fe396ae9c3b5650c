"""Critically sampled subbands by an orthogonal cosine-modulated filter bank."""

import functools
import math

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor, nn

from wavediff.representations.mel import MelFrontEnd
from wavediff.representations.representation import Representation

MOST_TAPS = 4096  # of the prototype: its design takes the square of it


class PQMF(Representation):
    """Audio as M subbands at 1/M of the rate, by an exactly orthogonal filter bank.

    The analysis filters are h(n) cos((2k + 1) pi (n + 1/2) / (2 M)) with a low-pass prototype h of
    2 overlap M taps. They are computed as an extended lapped transform (Malvar 1992): plane
    rotations across block boundaries, then a DCT-IV of each block. Each step is orthogonal, so the
    inverse is the transpose for any prototype. Rotations across the ends of the signal are omitted,
    so this holds for any length. (The pseudo-QMF bank, Nguyen 1994, is only nearly invertible.)

    Args:
        bands: M, even; also the hop.
        overlap: length of the prototype over 2 M, at least 1; frames on either side that a frame
            overlaps. For 4, the leakage beyond adjacent bands is below -33 dB.
        scale: factor on the result; 1 preserves the energy.
        mel: not used; all representations accept it.

    Raises:
        ValueError: if ``bands`` is odd, or ``overlap`` is out of range.
    """

    angles: Tensor
    dct: Tensor

    def __init__(
        self,
        bands: int = 4,
        overlap: int = 4,
        scale: float = 1.0,
        mel: MelFrontEnd | None = None,
    ) -> None:
        super().__init__()
        if bands < 2 or bands % 2:
            raise ValueError(f"bands must be even, got {bands}")
        if overlap < 1 or 2 * overlap * bands > MOST_TAPS:
            raise ValueError(
                f"overlap must be at least 1 and 2 overlap bands at most {MOST_TAPS}, "
                f"got {overlap} for {bands} bands"
            )
        self.channels = bands
        self.hop_length = bands
        self.halo = overlap
        self.scale = scale
        self.register_buffer("angles", design(bands, overlap).clone(), persistent=False)
        self.register_buffer("dct", dct_iv(bands), persistent=False)

    @property
    def centres(self) -> Tensor:
        """Centre frequencies of the bands in cycles per sample, float64 ``[bands]``."""
        return (torch.arange(self.channels, dtype=torch.float64) + 0.5) / (2 * self.channels)

    def encode(self, audio: Tensor, mel: Tensor | None = None) -> Tensor:
        """z ``[batch, bands, frames(time)]`` of ``audio [batch, 1, time]``, low bands first.

        Raises:
            ValueError: for another shape.
        """
        if audio.ndim != 3 or audio.shape[1] != 1 or audio.shape[2] < 1:
            raise ValueError(f"audio must be [batch, 1, time >= 1], got {list(audio.shape)}")
        length = audio.shape[-1]
        frames = self.frames(length)
        with torch.autocast(audio.device.type, enabled=False):
            audio = audio if audio.dtype == torch.float64 else audio.float()
            padded = nn.functional.pad(audio, (0, frames * self.channels - length))
            blocks = padded.reshape(-1, frames, self.channels)
            folded = rotate(blocks, self.angles.to(audio.dtype))
            return self.scale * (folded @ self.dct.to(audio.dtype)).mT

    def decode(self, z: Tensor, length: int, mel: Tensor | None = None) -> Tensor:
        """Audio ``[batch, 1, length]`` of ``z [batch, bands, frames(length)]``.

        Raises:
            ValueError: for another shape.
        """
        if z.ndim != 3 or length < 1 or z.shape[1:] != (self.channels, self.frames(length)):
            raise ValueError(
                f"z must be [batch, {self.channels}, {self.frames(length)}], got {list(z.shape)}"
            )
        with torch.autocast(z.device.type, enabled=False):
            z = z if z.dtype == torch.float64 else z.float()
            folded = z.mT @ self.dct.to(z.dtype) / self.scale  # the DCT-IV is its own inverse
            blocks = unrotate(folded, self.angles.to(z.dtype))
        return blocks.reshape(len(z), 1, -1)[..., :length]


def dct_iv(size: int) -> Tensor:
    """Orthonormal DCT-IV matrix, float64 ``[size, size]``; symmetric and its own inverse."""
    n = torch.arange(size, dtype=torch.float64) + 0.5
    return math.sqrt(2 / size) * torch.cos(math.pi / size * torch.outer(n, n))


def rotate(blocks: Tensor, angles: Tensor) -> Tensor:
    """Rotate pairs of samples that are mirrored at block boundaries.

    Even stages rotate the halves of two blocks next to their boundary, odd stages the other halves.

    Args:
        blocks: ``[batch, frames, bands]``.
        angles: ``[overlap, bands / 2]``.
    """
    for stage, angle in enumerate(angles):
        blocks = _stage(blocks, angle, outer=stage % 2 == 1)
    return blocks


def unrotate(blocks: Tensor, angles: Tensor) -> Tensor:
    """The inverse of ``rotate``."""
    for stage in reversed(range(len(angles))):
        blocks = _stage(blocks, -angles[stage], outer=stage % 2 == 1)
    return blocks


def _stage(blocks: Tensor, angle: Tensor, outer: bool) -> Tensor:
    if blocks.shape[1] == 1:
        return blocks
    half = blocks.shape[-1] // 2
    first, second = blocks[..., :half], blocks[..., half:].flip(-1)  # by distance from the edges
    cos, sin = angle.cos(), angle.sin()
    if outer:
        a, b = first[:, :-1], second[:, 1:]
    else:
        a, b = first[:, 1:], second[:, :-1]
    turned_a, turned_b = cos * a + sin * b, cos * b - sin * a
    if outer:
        first = torch.cat([turned_a, first[:, -1:]], dim=1)
        second = torch.cat([second[:, :1], turned_b], dim=1)
    else:
        first = torch.cat([first[:, :1], turned_a], dim=1)
        second = torch.cat([turned_b, second[:, -1:]], dim=1)
    return torch.cat([first, second.flip(-1)], dim=-1)


def prototype(angles: Tensor) -> Tensor:
    """Low-pass prototype ``[2 overlap bands]`` of the bank with ``angles [overlap, bands / 2]``."""
    overlap, bands = len(angles), 2 * angles.shape[1]
    blocks = 2 * overlap + 1
    unit = torch.zeros(bands, blocks, bands, dtype=angles.dtype)
    unit[:, overlap] = torch.eye(bands, dtype=angles.dtype)
    rows = unrotate(unit, angles)  # weights of all samples in each folded sample of the middle
    n = torch.arange(-overlap * bands, (overlap + 1) * bands)
    # fold position n like the cosine of the DCT-IV: even about 0, odd about M
    phase = n % (4 * bands)
    mirrored = (phase // bands) % 2 == 1
    sign = torch.where((phase >= bands) & (phase < 3 * bands), -1.0, 1.0).to(angles.dtype)
    index = torch.where(mirrored, bands - 1 - phase % bands, phase % bands)
    h = sign * rows.reshape(bands, -1)[index, torch.arange(len(n))]
    return h[bands // 2 : -(bands // 2)]


@functools.cache
@torch.inference_mode(False)
@torch.enable_grad()
def design(bands: int, overlap: int) -> Tensor:
    """Angles that minimise the energy of the prototype above the frequency pi / bands.

    The optimisation starts from the sine window (the MDCT) and adds one stage at a time.

    Returns:
        float64 ``[overlap, bands / 2]``.
    """
    position = (torch.arange(bands // 2, dtype=torch.float64) + 0.5) / bands
    angles = (math.pi / 4 * (1 - 2 * position)).unsqueeze(0)
    for stages in range(1, overlap + 1):
        if stages > 1:
            angles = torch.cat([angles, torch.zeros(1, bands // 2, dtype=torch.float64)])
        taps = np.arange(2 * stages * bands)
        distance = torch.from_numpy(np.subtract.outer(taps, taps)).double()
        stopband = -torch.sinc(distance / bands) / bands + torch.eye(len(taps)).double()

        def energy(
            x: np.ndarray, stages: int = stages, stopband: Tensor = stopband
        ) -> tuple[float, np.ndarray]:
            point = torch.tensor(x.reshape(stages, -1), requires_grad=True)
            h = prototype(point)
            loss = h @ stopband @ h / bands
            (gradient,) = torch.autograd.grad(loss, point)
            return loss.item(), gradient.numpy().ravel()

        found = minimize(energy, angles.numpy().ravel(), jac=True, method="L-BFGS-B")
        angles = torch.from_numpy(found.x.reshape(stages, -1))
    return angles
