"""Restoration of recordings with a generator as the prior.

Gaps, missing bands and clipped peaks all are an unknown part of a waveform whose rest is known. At
every step of sampling, the estimate of x_0 is projected onto what is known
(``wavediff.diffusion.ProjectionGuidance``, as DDNM, Wang et al. 2023). The mean of several samples
of this posterior is closer to the original than any of them. What is known stays as it is. The
generator works at its own sample rate and usual level, on windows around what is missing.
"""

from wavediff.tasks.restoration.bandwidth_extension import extend
from wavediff.tasks.restoration.declipping import clipping, declip
from wavediff.tasks.restoration.inpainting import inpaint
from wavediff.tasks.restoration.posterior import DRAWS, Posterior, level, posterior_of

__all__ = [
    "DRAWS",
    "Posterior",
    "clipping",
    "declip",
    "extend",
    "inpaint",
    "level",
    "posterior_of",
]
