"""Models in the form in which they are exported to ONNX: tensors in, tensors out."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from wavediff.diffusion.condition import Condition
from wavediff.diffusion.denoiser import Denoiser
from wavediff.errors import UserError
from wavediff.networks.causal import CausalStream
from wavediff.representations.level import normalised
from wavediff.tasks.enhancer import Enhancer


class OneCall(nn.Module):
    """x_0 from y in one network call: the first step of a path that begins at y itself.

    Args:
        enhancer: whose sampler takes one step.

    Raises:
        UserError: for a sampler of more calls, or a path that begins with noise.
    """

    c_noise: Tensor

    def __init__(self, enhancer: Enhancer) -> None:
        super().__init__()
        own: Denoiser = enhancer.denoiser
        calls = enhancer.sampler.calls(own.schedule)
        start = enhancer.sampler.grid(own.schedule)[0]
        if calls != 1 or float(own.schedule.prior_std(start)):
            raise UserError(
                f"a model can be exported that takes one call from the noisy recording; this one "
                f"takes {calls}{'' if calls != 1 else ', from noise'}: train with schedule=bridge "
                "and sampler.times.steps=1"
            )
        # as numbers: in the graph they would be infinities that cancel
        factors = own.prediction(own.schedule, start)
        self.c_skip, self.c_out, self.c_in, self.c_anchor = (float(c) for c in factors)
        self.start = float(own.schedule.prior_anchor(start))
        self.register_buffer("c_noise", own.schedule.c_noise(start).float().reshape(1))
        self.network: nn.Module = enhancer.network

    def forward(self, cond: Condition, *frames: CausalStream) -> Tensor:
        """x_0 ``[batch, channels, frames]``; ``frames`` is the stream of a causal network."""
        y = cond.needed("anchor")
        x = self.start * y
        output = self.network(self.c_in * x, self.c_noise, cond, *frames)
        return self.c_skip * x + self.c_out * output + self.c_anchor * y


class LiveStepModel(nn.Module):
    """The step of a causal enhancer with its state as tensors, see ``LiveStep``."""

    def __init__(self, enhancer: Enhancer) -> None:
        super().__init__()
        self.call = OneCall(enhancer)
        self.representation = enhancer.representation

    def forward(self, spectrum: Tensor, state: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Enhance frames.

        Args:
            spectrum: real and imaginary parts, ``[channels, n_fft / 2 + 1, frames, 2]``,
                normalised by the level.
            state: ``initial_state``, or that after the frames before.

        Returns:
            The same of the enhanced frames, and the state after them.
        """
        z = self.representation.compressed(torch.view_as_complex(spectrum))
        stream = CausalStream(state)
        x0 = self.call(Condition(anchor=z), stream)
        return torch.view_as_real(self.representation.expanded(x0)), stream.state

    @torch.no_grad()
    def initial_state(self, channels: int = 1) -> list[Tensor]:
        """The state before the first frame: zeros."""
        stream = CausalStream()
        representation = self.representation
        z = torch.zeros(channels, representation.channels, 1)
        self.call(Condition(anchor=z), stream)
        return [torch.zeros_like(tensor) for tensor in stream.state]


class EnhanceModel(nn.Module):
    """``Enhancer.enhance`` of whole signals at the model's rate, level and front-ends included."""

    def __init__(self, enhancer: Enhancer) -> None:
        super().__init__()
        self.call = OneCall(enhancer)
        self.representation, self.mel = enhancer.representation, enhancer.mel
        self.level, self.level_rms = enhancer.level, enhancer.level_rms

    def forward(self, noisy: Tensor) -> Tensor:
        """The enhanced ``noisy [channels, 1, time]``."""
        level = self.level(noisy) / self.level_rms
        audio = normalised(noisy, level)
        local = None if self.mel is None else self.mel(audio)
        anchor = self.representation.encode(audio, local)
        if local is not None:
            local = local[..., : anchor.shape[-1]]  # a mel may have a frame more
        x0 = self.call(Condition(local=local, anchor=anchor))
        return self.representation.decode(x0, noisy.shape[-1], local) * level


class NetworkModel(nn.Module):
    """The network of a vocoder, ``F(x, c_noise, mel)``; its sampler is the caller's."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor, c_noise: Tensor, mel: Tensor) -> Tensor:
        """F of ``x [batch, channels, frames]``, ``c_noise [batch]``, ``mel [batch, n_mels, m]``."""
        return self.network(x, c_noise, Condition(local=mel))
