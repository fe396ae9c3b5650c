"""The methods of tools/compare.py, and their trainings."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

BASE = "comparison"
LIST = Path(__file__).resolve().parents[1] / "recipes" / "comparison" / "methods.yaml"
FEW, MANY = (1, 2, 4, 8, 18, 35), (1, 2, 4, 8, 18, 35, 100)


@dataclass(frozen=True)
class Method:
    """A method of `LIST`.

    Attributes:
        label: its name in the results.
        calls: budgets of network calls.
        others: samplers besides the recipe's.
        needs: overrides whose values are the runs of other methods.
        judged: the sampler and the budget by which methods, seeds and shares are compared.
        vocoder: whether it turns mels into audio, instead of classes into notes.
    """

    label: str
    calls: tuple[int, ...] = FEW
    others: tuple[str, ...] = ()
    needs: tuple[tuple[str, str], ...] = ()
    judged: tuple[str, int] = ("Heun", 18)
    vocoder: bool = False


EULER = ("EulerMaruyama", 35)
METHODS = {
    "ddpm": Method("DDPM", MANY, ("ddim",), judged=("Ancestral", 18)),
    "ncsn": Method("NCSN", MANY, judged=("AnnealedLangevin", 100)),
    "vp": Method("score SDE, VP", MANY, ("euler_maruyama",), judged=EULER),
    "subvp": Method("score SDE, sub-VP", MANY, ("euler_maruyama",), judged=EULER),
    "ve": Method("score SDE, VE", MANY, ("euler_maruyama",), judged=EULER),
    "edm": Method("EDM", judged=("Heun", 35)),
    "flow": Method("rectified flow", others=("ddim",)),
    "consistency": Method(
        "consistency, distilled", (1, 2, 4, 8), (), (("teacher", "edm"),), ("Renoise", 2)
    ),
    "latent": Method("latent EDM", FEW, (), (("representation.autoencoder", "vae"),)),
    "vae": Method("VAE, no diffusion", (1,), judged=("decoder", 1)),
    "gan": Method("GAN, no diffusion", (1,), judged=("DDIM", 1)),
    "vocoder": Method("diffusion", (1, 2, 4, 8), judged=("DDIM", 4), vocoder=True),
    "vocoder_gan": Method("GAN, HiFi-GAN's losses", (1,), judged=("DDIM", 1), vocoder=True),
}
NOTES = [name for name, method in METHODS.items() if not method.vocoder]
STUDIED = ("flow", "latent", "vae", "gan", "vocoder", "vocoder_gan")
VOCODERS = [name for name, method in METHODS.items() if method.vocoder]


@dataclass(frozen=True)
class Run:
    """A training: a method, perhaps with another seed or on a share of the notes.

    Attributes:
        seed: added to that of the comparison.
        share: of the notes, the first of each instrument.
    """

    method: str
    seed: int = 0
    share: float = 1.0

    @property
    def name(self) -> str:
        """Of its folder, see ``parse``."""
        parts = [f"seed{self.seed}"] * (self.seed > 0) + [f"share{self.share:g}"] * (self.share < 1)
        return "-".join([self.method, *parts])

    @classmethod
    def parse(cls, name: str) -> Run:
        """The run of a folder's name."""
        found = re.fullmatch(r"(\w+?)(?:-seed(\d+))?(?:-share([\d.]+))?", name)
        if not found or found[1] not in METHODS:
            raise ValueError(name)
        return cls(found[1], int(found[2] or 0), float(found[3] or 1))

    @property
    def needs(self) -> list[tuple[str, Run]]:
        """Overrides whose values are other runs, of the same seed and share."""
        found = METHODS[self.method].needs
        return [(key, Run(name, self.seed, self.share)) for key, name in found]


def runs(
    methods: Sequence[str], studied: Sequence[str], seeds: int, shares: Sequence[float]
) -> list[Run]:
    """All trainings: each method once, those ``studied`` with each seed and on each share.

    Vocoders have no shares. What a run needs comes before it.
    """
    wanted = [Run(name) for name in methods]
    repeated = [name for name in methods if name in studied]
    wanted += [Run(name, seed=seed) for seed in range(1, seeds) for name in repeated]
    notes = [name for name in repeated if not METHODS[name].vocoder]
    wanted += [Run(name, share=share) for share in shares for name in notes]
    found: dict[Run, None] = {}
    for run in wanted:
        found |= dict.fromkeys([*(other for _, other in run.needs), run])
    return list(found)
