import numpy as np
import pytest
import torch
from torch import Tensor

from wavediff.data.audio import BadAudio
from wavediff.errors import UserError
from wavediff.evaluation.metrics import METRICS
from wavediff.training import validation
from wavediff.training.distributed import World
from wavediff.training.validation import choose_metrics, validate

ALONE = World(0, 1, torch.device("cpu"))
RATE = 16000


def speechlike(number: int) -> dict:
    rng = np.random.default_rng(number)
    audio = 0.1 * rng.standard_normal((1, RATE)).astype(np.float32)
    return {"audio": torch.from_numpy(audio), "name": f"clip{number}"}


def halves(batch: dict[str, Tensor], seed: int) -> Tensor:
    return batch["audio"] / 2


def test_scores_are_means_over_files_spread_over_all():
    metrics = choose_metrics(["mr_stft", "log_mel_error"])
    asked = []

    class Clips(list):
        def __getitem__(self, number: int) -> dict:
            asked.append(number)
            return speechlike(number)

    result = validate(halves, Clips(range(10)), metrics, ALONE, RATE, files=3, seconds=0.5, media=1)
    assert asked == [0, 3, 6]
    expected = []
    for number in asked:
        audio = speechlike(number)["audio"][:, : RATE // 2]
        expected.append(METRICS["mr_stft"](audio / 2, audio, RATE))
    assert result.scores["mr_stft"] == pytest.approx(np.mean(expected))
    assert [(s.name, len(s.reference)) for s in result.samples] == [("clip0", RATE // 2)]
    torch.testing.assert_close(result.samples[0].estimate, result.samples[0].reference / 2)


def test_what_cannot_be_measured_is_said_and_left_out_of_the_mean():
    def broken(batch: dict[str, Tensor], seed: int) -> Tensor:
        return batch["audio"] / 2 if seed else batch["audio"] * float("nan")

    class Clips(list):
        def __getitem__(self, number: int) -> dict:
            if number == 2:
                raise BadAudio("clip2.wav is not audio")
            return speechlike(number)

    metrics = choose_metrics(["mr_stft"])
    result = validate(broken, Clips(range(3)), metrics, ALONE, RATE, files=3)
    alone = validate(halves, [speechlike(1)], metrics, ALONE, RATE, files=1)
    assert result.scores == pytest.approx(alone.scores)
    assert result.undefined == {"mr_stft": "2 of 3 files: the estimate is not finite"}


def test_labels_reach_the_model():
    seen = []

    def listen(batch: dict[str, Tensor], seed: int) -> Tensor:
        seen.append(batch["label"])
        return batch["audio"]

    validate(listen, [speechlike(0) | {"label": 4}], {}, ALONE, RATE, files=1)
    assert seen[0].tolist() == [4]


def test_metrics_by_name(monkeypatch, capsys):
    with pytest.raises(UserError, match=r"'peskq' is not a metric\. Use some of pesq_wb, "):
        choose_metrics(["peskq"])

    class Missing:
        def require(self) -> None:
            raise UserError("the package pesq is missing")

    monkeypatch.setattr(validation, "METRICS", METRICS | {"pesq_wb": Missing()})
    assert list(choose_metrics(["pesq_wb", "mr_stft"])) == ["mr_stft"]
    assert "leaves out pesq_wb: the package pesq is missing" in capsys.readouterr().err
