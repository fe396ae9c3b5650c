import pytest
import torch

from wavediff.data.build import build_data
from wavediff.data.notes import INSTRUMENTS, note, notes

RATE = 8000


@pytest.mark.parametrize("name", INSTRUMENTS)
def test_a_note_sounds_at_a_pitch_of_the_range(name: str):
    audio = note(name, 0.256, RATE, seed=3)
    assert audio.shape == (1, 2048)
    assert 0.1 < audio.abs().max() <= 0.5
    assert torch.equal(audio, note(name, 0.256, RATE, seed=3))
    assert not torch.equal(audio, note(name, 0.256, RATE, seed=4))
    spectrum = torch.fft.rfft(audio[0].double(), 1 << 15).abs()
    strongest = spectrum.argmax().item() * RATE / (1 << 15)
    assert 210 < strongest < 0.47 * RATE


def test_plucked_notes_fade_and_held_ones_do_not():
    def fading(name: str) -> float:
        audio = note(name, 0.256, RATE, seed=1)[0]
        return (audio[1400:1900].square().mean() / audio[200:700].square().mean()).item()

    assert fading("marimba") < 0.05
    assert 0.5 < fading("organ") < 2


def test_the_loader_cuts_the_files_into_notes_with_their_instruments(tmp_path):
    config = {
        "_target_": "wavediff.data.notes.notes", "root": str(tmp_path), "count": 40,
        "seconds": 0.256, "sample_rate": RATE, "seed": 0,
        "split": {"every": 4, "test": 0, "validation": 1}, "normalize": None, "gain_db": None,
        "min_seconds": 0.1, "max_seconds": 0.256, "balance": "clips", "cache": True, "workers": 0,
        "mix": None,
    }  # fmt: skip
    data, held_out = build_data(config, 2048, RATE)
    assert (len(data), len(held_out)) == (20, 10)
    assert data.label_names == sorted(INSTRUMENTS)
    assert {held_out[i]["label"] for i in range(10)} == set(range(10))
    first = notes(str(tmp_path), 40).files[0]
    name = first.stem
    written = first.stat().st_mtime_ns
    assert notes(str(tmp_path), 40).files[0].stat().st_mtime_ns == written
    # clip number 1 of the first file is the second note
    expected = note(name, 0.256, RATE, (0, list(INSTRUMENTS).index(name), 1))
    torch.testing.assert_close(held_out[0]["audio"], expected, atol=1e-4, rtol=0)
