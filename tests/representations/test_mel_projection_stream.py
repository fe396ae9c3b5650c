"""The mel projection of a signal in parts: that of the whole signal."""

import pytest
import torch

from wavediff.representations.mel import mel_front_end
from wavediff.representations.mel_projection import MelProjection
from wavediff.representations.mel_projection_stream import MelProjectionStream

FRONT_ENDS = [
    {},
    {"center": False},
    {"center": False, "hop_length": 31},
    {"hop_length": 40},
    {"power": 2.0},
    {"normalized": True},
]


def front_end(**options):
    sizes = {"sample_rate": 4000, "n_fft": 128, "win_length": 128, "hop_length": 32, "n_mels": 10}
    return mel_front_end("tacotron", **sizes | {"f_max": 2000.0} | options)


@pytest.mark.parametrize("options", FRONT_ENDS, ids=str)
@pytest.mark.parametrize("frames", [1, 2, 9, 80])
@pytest.mark.parametrize("size", [1, 4, 50])
def test_parts_give_what_the_whole_gives(options, frames, size):
    """In float64, where 20 iterations do not amplify rounding errors to more than 1e-9."""
    projection = MelProjection(front_end(**options), iterations=20).double()
    hop = projection.mel.hop_length
    generator = torch.Generator().manual_seed(0)
    audio, other = 0.1 * torch.randn(
        2, 2, 1, (frames + 1) * hop, generator=generator, dtype=torch.float64
    )
    mel, audio = projection.mel(other)[..., :frames], audio[..., : frames * hop]
    expected = projection(audio, mel)
    stream, parts, complete = MelProjectionStream(projection), [], 0
    for start in range(0, frames, size):
        stop = min(frames, start + size)
        part = audio[..., start * hop : stop * hop]
        parts.append(stream(part, mel[..., start:stop], stop == frames))
        complete += parts[-1].shape[-1] // hop
        assert complete >= stop - stream.lag
    torch.testing.assert_close(torch.cat(parts, dim=-1), expected, atol=1e-9, rtol=0)
    assert frames < 9 or (expected - audio).abs().max() > 1e-3  # shorter ones have ends alone
