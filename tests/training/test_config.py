from pathlib import Path

import pytest
from omegaconf import OmegaConf

from wavediff.errors import UserError
from wavediff.training.config import FREE, TrainerConfig, trainer_config

DEFAULTS = OmegaConf.load(Path(__file__).parents[2] / "conf" / "trainer" / "default.yaml")


def test_the_defaults_are_complete_and_valid():
    trainer_config(DEFAULTS)
    assert set(DEFAULTS) == set(TrainerConfig.__dataclass_fields__)
    assert set(DEFAULTS) > FREE


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"max_step": 1}, r"unknown key trainer\.max_step: did you mean trainer\.max_steps\?"),
        ({"colour": 1}, r"unknown key trainer\.colour: use one of max_steps, "),
        ({"max_steps": "many"}, r"trainer\.max_steps=many is invalid\. Use an integer\."),
        ({"max_steps": "x" * 99}, rf"trainer\.max_steps={'x' * 57}\.\.\. is invalid"),
        ({"max_steps": 0}, r"trainer\.max_steps=0 is out of range\. Use 1 or more"),
        ({"precision": "int8"}, r"trainer\.precision=int8 .* Use one of fp32, bf16, fp16\."),
        ({"clip_norm": "little"}, r"clip_norm=little is invalid\. Use a number, or null\."),
        ({"measures": "all"}, r"measures=all is invalid\. Use a list\."),
        ({"log_snr_bins": [1, "a"]}, r"log_snr_bins=\[1, 'a'\] is invalid\. Use a list"),
        (
            {"clip_norm": 0},
            r"clip_norm=0\.0 is out of range\. Use a number above 0, or null",
        ),
        ({"ema_decay": 1}, r"trainer\.ema_decay=1\.0 is out of range\. Use a number in \[0, 1\)"),
        ({"log_snr_bins": [1, 0]}, r"trainer\.log_snr_bins=\[1.* must increase strictly"),
    ],
)
def test_invalid_values_are_refused_in_one_sentence_or_two(change: dict, sentence: str):
    with pytest.raises(UserError, match=sentence) as caught:
        trainer_config(OmegaConf.merge(DEFAULTS, change))
    assert "\n" not in str(caught.value)


def test_an_absent_key_is_named():
    values = {key: value for key, value in DEFAULTS.items() if key != "max_steps"}
    with pytest.raises(UserError, match=r"trainer\.max_steps is not set\. Use .*=VALUE"):
        trainer_config(values)
