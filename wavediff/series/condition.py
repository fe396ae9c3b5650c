"""What the network of a series model sees of a window, and in which channels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from wavediff.diffusion.condition import Condition
from wavediff.diffusion.denoiser import Denoiser
from wavediff.diffusion.forward import broadcast
from wavediff.series.scaling import Affine
from wavediff.series.windows import visible_lags


class Window(NamedTuple):
    """A batch of windows.

    Attributes:
        values: ``[batch, variables, length]`` in the data's own units, anything where not present.
        present: bool, like ``values``: where there is a value.
        local: ``[batch, features, length]``: calendar and known covariates.
        lags: ``[batch, variables * lags, length]``: the series itself, earlier; the lags of a
            variable are adjacent.
        lags_present: bool, like ``lags``.
        label: ``[batch]``, number of the item, or None.
    """

    values: Tensor
    present: Tensor
    local: Tensor
    lags: Tensor
    lags_present: Tensor
    label: Tensor | None = None

    @classmethod
    def of(cls, batch: Mapping[str, Tensor]) -> Window:
        """From a batch of ``wavediff.series.windows``."""
        return cls(
            batch["values"],
            batch["present"].bool(),
            batch["local"],
            batch["lags"],
            batch["lags_present"].bool(),
            batch.get("label"),
        )

    def map(self, function: Callable[[Tensor], Tensor]) -> Window:
        """Apply ``function`` to every tensor."""
        return Window._make(part if part is None else function(part) for part in self)

    def rows(self, rows: slice) -> Window:
        """Some windows of the batch."""
        return self.map(lambda part: part[rows])


def condition(
    window: Window, x0: Tensor, known: Tensor, scale: Affine, lags: Sequence[int]
) -> Condition:
    """The local condition: known cells, where they are, features, lags, where these are.

    Each lag is scaled like the variable that it belongs to. What is hidden in the window is hidden
    in its lags, and all lags are where nothing of the window is known.

    Args:
        window: the windows.
        x0: ``[batch, variables, length]``, their scaled values.
        known: bool, like ``x0``.
        scale: of each window and variable.
        lags: in steps.
    """
    variables = x0.shape[1]
    earlier = window.lags.unflatten(1, (variables, -1)).double()
    earlier = (earlier - scale.loc[..., None]) / scale.scale[..., None]
    there = visible_lags(window.lags_present.to(x0), known.to(x0), lags)
    there = there * known.any(-1).any(-1)[:, None, None]
    earlier = earlier.flatten(1, 2).to(x0) * there
    local = [known * x0, known.to(x0), window.local.to(x0), earlier, there]
    return Condition(local=torch.cat(local, dim=1), label=window.label)


def network_sizes(
    network: Mapping[str, Any], variables: int, features: int, lags: list[int], **rest: Any
) -> dict[str, int]:
    """The arguments of the network that follow from the channels of ``condition``.

    Args:
        network: its configuration.
        variables: of a window.
        features: of the calendar and known covariates.
        lags: in steps.
        rest: ignored.
    """
    local = 2 * variables + features + 2 * variables * len(lags)
    sizes = {"channels": variables, "local_channels": local, "upsample": 1}
    # for networks that treat each variable independently
    shared = {"shared_start": 2 * variables, "shared_channels": features}
    return sizes | {key: size for key, size in shared.items() if key in network}


class CleanObservations(Denoiser):
    """A denoiser whose network sees the known cells of x_t without noise (CSDI, Tashiro et al.
    2021, section 4.3), scaled to the standard deviation of x_t.

    A block of DiffWave adds the local condition after its dilated convolution. Where no later block
    has dilation 1, a known cell therefore has no influence on cells at an odd distance from it
    except through the input.
    """

    def forward(self, x: Tensor, t: Tensor | float, cond: Condition | None = None) -> Tensor:
        """The estimate of x_0, like ``x``; undefined in known cells.

        Args:
            x: ``[batch, variables, length]``.
            t: scalar or ``[batch]``.
            cond: of ``condition``.
        """
        local = (cond or Condition()).needed("local")
        y, known = (local[:, k * x.shape[1] : (k + 1) * x.shape[1]] for k in range(2))
        std = torch.hypot(self.schedule.alpha(t), self.schedule.sigma(t))
        return super().forward(torch.where(known > 0, broadcast(std, x) * y, x), t, cond)
