"""The methods of tools/compare.py, and their trainings."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

BASE = "comparison"
LIST = Path(__file__).resolve().parents[1] / "recipes" / "comparison" / "methods.yaml"
FEW, MANY = (1, 2, 4, 8, 18, 35), (1, 2, 4, 8, 18, 35, 100)
STUDIED = ("flow", "gan")  # trained with several seeds and on parts of the notes


@dataclass(frozen=True)
class Method:
    """A method of `LIST`; `needs` are overrides whose values are the runs of other methods."""

    label: str
    calls: tuple[int, ...] = FEW
    others: tuple[str, ...] = ()  # samplers besides the recipe's
    needs: tuple[tuple[str, str], ...] = ()


METHODS = {
    "ddpm": Method("DDPM", MANY, ("ddim",)),
    "ncsn": Method("NCSN", MANY),
    "vp": Method("score SDE, VP", MANY, ("euler_maruyama",)),
    "subvp": Method("score SDE, sub-VP", MANY, ("euler_maruyama",)),
    "ve": Method("score SDE, VE", MANY, ("euler_maruyama",)),
    "edm": Method("EDM"),
    "flow": Method("rectified flow", others=("ddim",)),
    "consistency": Method("consistency, distilled", (1, 2, 4, 8), (), (("teacher", "edm"),)),
    "vae": Method("VAE, no diffusion", (1,)),
    "gan": Method("GAN, no diffusion", (1,)),
    "latent": Method("latent EDM", FEW, (), (("representation.autoencoder", "vae"),)),
}


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


def runs(methods: list[str], seeds: int, shares: list[float]) -> list[Run]:
    """All trainings: each method once, and those of ``STUDIED`` as often as is asked for."""
    studied = [name for name in methods if name in STUDIED]
    return [
        *(Run(name) for name in methods),
        *(Run(name, seed=seed) for seed in range(1, seeds) for name in studied),
        *(Run(name, share=share) for share in shares for name in studied),
    ]
