"""A task and data of the smallest size, and everything that the loop needs around them."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from torch import Tensor, nn
from torch.utils.data import Dataset, default_collate

from wavediff.diffusion.noise import ItemNoise
from wavediff.tasks.task import Task
from wavediff.training.checkpoint import RunCheckpoints, resume
from wavediff.training.config import TrainerConfig, trainer_config
from wavediff.training.distributed import World
from wavediff.training.learner import Learner
from wavediff.training.loop import Outcome, train

DEFAULTS = Path(__file__).parents[2] / "conf" / "trainer" / "default.yaml"
ALONE = World(0, 1, torch.device("cpu"))


class FakeTask(Task):
    """Denoises noisy audio; with dropout, which draws from the global generator."""

    sample_rate = 16000

    def __init__(self) -> None:
        super().__init__()
        self.network = nn.Sequential(
            nn.Conv1d(1, 8, 3, padding=1), nn.SiLU(), nn.Dropout(0.1), nn.Conv1d(8, 1, 3, padding=1)
        )

    def loss(self, batch: dict[str, Tensor], noise: ItemNoise) -> dict[str, Tensor]:
        audio = batch["audio"]
        eps = noise.normal(*audio.shape[1:]).to(audio)
        log_snr = 20 * noise.uniform().to(audio) - 10
        alpha = log_snr.sigmoid().sqrt()[:, None, None]
        x = alpha * audio + (1 - alpha**2).sqrt() * eps
        error = (self.network(x) - audio).square().mean(dim=(1, 2))
        return {"loss": 2 * error, "squared": error, "log_snr": log_snr}


class FakeData(Dataset):
    """Sample i is random audio that follows from i; ``spoil`` may change it."""

    def __init__(self, spoil: Callable[[int, Tensor], Tensor] | None = None) -> None:
        self.spoil = spoil

    def __getitem__(self, index: int) -> dict:
        audio = torch.randn(1, 32, generator=torch.Generator().manual_seed(index))
        if self.spoil:
            audio = self.spoil(index, audio)
        return {"audio": audio, "index": index}


@pytest.fixture
def trainer() -> Callable[..., TrainerConfig]:
    """trainer(key=value, ...): the defaults of conf/ for a run of a few steps, with changes."""

    def make(**changes: object) -> TrainerConfig:
        small = {"max_steps": 6, "batch_size": 4, "progress": False, "ema_decay": 0.9}
        return trainer_config(OmegaConf.merge(OmegaConf.load(DEFAULTS), small, changes))

    return make


@pytest.fixture
def make_learner(trainer: Callable) -> Callable[..., Learner]:
    """make_learner(lr=..., key=value, ...): a fresh one, always with the same weights."""

    def make(lr: float = 1e-2, **changes: object) -> Learner:
        torch.manual_seed(0)

        def optimizer(parameters: list) -> torch.optim.Optimizer:
            return torch.optim.AdamW(parameters, lr=lr)

        return Learner(FakeTask(), trainer(**changes), ALONE, optimizer, seed=3)

    return make


@pytest.fixture
def run(make_learner: Callable, tmp_path: Path) -> Callable[..., tuple[Learner, Outcome]]:
    """run(folder, data=..., validate=..., key=value): begin or continue, as the command does.

    ``validate`` is given the learner.
    """

    def go(
        folder: str = "run",
        data: Dataset | None = None,
        validate: Callable | None = None,
        **changes,
    ) -> tuple[Learner, Outcome]:
        learner = make_learner(**changes)
        run_dir = tmp_path / folder
        checkpoints = RunCheckpoints(run_dir, learner.config.keep_last)
        config = {"trainer": {"batch_size": learner.config.batch_size}}
        outcome = train(
            learner,
            data or FakeData(),
            run_dir=run_dir,
            run_config=config,
            save=lambda path, weights, facts: torch.save([dict(weights), dict(facts)], path),
            validate=partial(validate, learner) if validate else None,
            state=resume(checkpoints, config, False, False, ALONE),
        )
        return learner, outcome

    return go


@pytest.fixture
def fake_data() -> type[FakeData]:
    return FakeData


@pytest.fixture
def feed(fake_data) -> Callable[..., Iterator[dict]]:
    """feed([0, 1], [2, 3], data=...): batches of these items."""

    def make(*lists: range, data=None) -> Iterator[dict]:
        data = data or fake_data()
        return iter([default_collate([data[i] for i in numbers]) for numbers in lists])

    return make
