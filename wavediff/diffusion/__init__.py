"""Conditional Gaussian diffusion over tensors ``[batch, ...]`` of any rank.

    x_t = alpha_t x_0 + anchor_t y + sigma_t eps

    denoiser = Denoiser(net, EDM(), edm)        # net(x, c_noise) or net(x, c_noise, cond)
    loss = DenoisingObjective()(denoiser, x0).loss.mean()
    x = Heun(karras(18))(denoiser, torch.randn(16, 2))

A schedule gives the three coefficients at a time, a prediction defines what the network's output
means, an objective trains the denoiser, and a sampler integrates over a grid of times back to x_0.
Nothing here depends on the kind of signal, and torch is the only package imported.
"""

from wavediff.diffusion.adaptive import Adaptive
from wavediff.diffusion.anchored import OUVE, AnchoredFlow, Bridge, CDiffuSE
from wavediff.diffusion.condition import Condition
from wavediff.diffusion.consistency_models import ConsistencyDistillation, ConsistencyTraining
from wavediff.diffusion.corrector import EulerMaruyama, PredictorCorrector
from wavediff.diffusion.curve import log_snr_curve
from wavediff.diffusion.ddim import DDIM, Ancestral, Renoise
from wavediff.diffusion.denoiser import Denoiser
from wavediff.diffusion.exact import Gaussian, Mixture
from wavediff.diffusion.exploding import EDM, VE
from wavediff.diffusion.exponential import DPMpp2M, DPMpp3S, UniPC
from wavediff.diffusion.forward import diffuse
from wavediff.diffusion.guidance import ClassifierFree, ProjectionGuidance
from wavediff.diffusion.heun import Heun
from wavediff.diffusion.langevin import AnnealedLangevin
from wavediff.diffusion.likelihood import log_density
from wavediff.diffusion.objective import DenoisingObjective
from wavediff.diffusion.posterior import PosteriorGuidance
from wavediff.diffusion.preconditioning import consistency, edm, eps, ncsn, score, v, velocity, x0
from wavediff.diffusion.reverse import advance, noise_estimate, posterior_std, step
from wavediff.diffusion.sampler import Sampler, method
from wavediff.diffusion.schedule import (
    VP,
    DiscreteBetas,
    RectifiedFlow,
    Schedule,
    SubVP,
    cosine,
    linear,
)
from wavediff.diffusion.self_guidance import SelfGuidance
from wavediff.diffusion.times import fixed, karras, log_snr_uniform, uniform

__all__ = [
    "DDIM",
    "EDM",
    "OUVE",
    "VE",
    "VP",
    "Adaptive",
    "Ancestral",
    "AnchoredFlow",
    "AnnealedLangevin",
    "Bridge",
    "CDiffuSE",
    "ClassifierFree",
    "Condition",
    "ConsistencyDistillation",
    "ConsistencyTraining",
    "DPMpp2M",
    "DPMpp3S",
    "Denoiser",
    "DenoisingObjective",
    "DiscreteBetas",
    "EulerMaruyama",
    "Gaussian",
    "Heun",
    "Mixture",
    "PosteriorGuidance",
    "PredictorCorrector",
    "ProjectionGuidance",
    "RectifiedFlow",
    "Renoise",
    "Sampler",
    "Schedule",
    "SelfGuidance",
    "SubVP",
    "UniPC",
    "advance",
    "consistency",
    "cosine",
    "diffuse",
    "edm",
    "eps",
    "fixed",
    "karras",
    "linear",
    "log_density",
    "log_snr_curve",
    "log_snr_uniform",
    "method",
    "ncsn",
    "noise_estimate",
    "posterior_std",
    "score",
    "step",
    "uniform",
    "v",
    "velocity",
    "x0",
]
