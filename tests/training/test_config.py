from pathlib import Path

import pytest
from omegaconf import OmegaConf

from wavediff.errors import UserError
from wavediff.training.config import FREE, TrainerConfig, trainer_config

DEFAULTS = OmegaConf.load(Path(__file__).parents[2] / "conf" / "trainer" / "default.yaml")


def test_the_defaults_are_complete_and_possible():
    trainer_config(DEFAULTS)
    assert set(DEFAULTS) == set(TrainerConfig.__dataclass_fields__)
    assert set(DEFAULTS) > FREE


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"max_step": 1}, r"max_step"),
        ({"max_steps": "many"}, r"trainer\.max_steps: .*many.* Integer"),
        ({"max_steps": 0}, r"trainer\.max_steps is 0: it must be at least 1"),
        ({"precision": "int8"}, r"trainer\.precision: .*\[fp32, bf16, fp16\]"),
        ({"clip_norm": 0}, r"trainer\.clip_norm is 0\.0: it must be above 0, or null"),
        ({"ema_decay": 1}, r"trainer\.ema_decay is 1\.0: it must be below 1"),
        ({"log_snr_bins": [1, 0]}, r"trainer\.log_snr_bins must rise"),
    ],
)
def test_impossible_values_are_refused_by_a_sentence(change: dict, sentence: str):
    with pytest.raises(UserError, match=sentence) as caught:
        trainer_config(OmegaConf.merge(DEFAULTS, change))
    assert "\n" not in str(caught.value)
