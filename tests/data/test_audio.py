from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch

from wavediff.data.audio import (
    BadAudio,
    audio_info,
    audio_reader,
    audio_writer_like,
    read_audio,
    write_audio,
)
from wavediff.data.formats import kept_format
from wavediff.errors import UserError
from wavediff.inputs import find_audio


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg", ".mp3"])
def test_read_audio_knows_the_usual_formats(tmp_path, suffix):
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(24000) / 24000)
    soundfile.write(tmp_path / f"a{suffix}", np.stack([tone, tone], 1), 24000)
    audio, rate = read_audio(tmp_path / f"a{suffix}")
    assert (audio.dtype, audio.shape[0], rate) == (torch.float32, 1, 24000)
    assert abs(audio.shape[1] - 24000) <= 1152  # mp3 may count a frame more
    assert audio[0, 6000:18000].std() == pytest.approx(0.5 / 2**0.5, rel=0.02)
    assert read_audio(tmp_path / f"a{suffix}", mono=False)[0].shape[0] == 2
    assert audio_info(tmp_path / f"a{suffix}")[1] == 24000


def test_mono_is_the_mean_of_the_channels_and_parts_are_parts(tmp_path):
    samples = np.random.default_rng(0).uniform(-1, 1, (1000, 3))
    soundfile.write(tmp_path / "a.wav", samples, 16000, subtype="FLOAT")
    audio, _ = read_audio(tmp_path / "a.wav")
    np.testing.assert_allclose(audio[0], samples.mean(1), atol=1e-6)
    part, _ = read_audio(tmp_path / "a.wav", start=100, frames=50)
    assert torch.equal(part, audio[:, 100:150])


@pytest.mark.parametrize(("old", "new"), [(48000, 22050), (44100, 22050), (16000, 24000)])
def test_long_audio_is_read_in_pieces_without_a_seam(tmp_path, monkeypatch, old, new):
    samples = np.random.default_rng(0).uniform(-0.9, 0.9, (7001, 2))
    soundfile.write(tmp_path / "a.wav", samples, old)
    whole, _ = read_audio(tmp_path / "a.wav", new)
    monkeypatch.setattr("wavediff.data.audio.READ_AT_ONCE", 1000)
    pieces, _ = read_audio(tmp_path / "a.wav", new)
    assert pieces.shape == whole.shape
    torch.testing.assert_close(pieces, whole, atol=1e-6, rtol=0)


def test_bad_files_are_refused_by_name_and_reason(tmp_path, spoil):
    for name, reason in spoil(tmp_path).items():
        if reason == "too short":
            continue
        with pytest.raises(UserError, match=name) as caught:
            read_audio(tmp_path / name)
        assert caught.value.reason == reason, name
    with pytest.raises(BadAudio, match=r"none\.wav does not exist"):
        read_audio(tmp_path / "none.wav")
    with pytest.raises(BadAudio, match="is not a file"):
        read_audio(tmp_path)
    (tmp_path / "a.raw").write_bytes(bytes(100))  # soundfile asks for the rate of a .raw file
    with pytest.raises(BadAudio, match=r"a\.raw is not audio"):
        read_audio(tmp_path / "a.raw")


def test_an_impossible_sample_rate_is_refused(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(100), 1)
    with pytest.raises(BadAudio, match="sample rate of 1 Hz"):
        read_audio(tmp_path / "a.wav", 22050)


@pytest.mark.parametrize(
    ("name", "subtype", "step"),
    [
        ("a.wav", "PCM_16", 2**-15),
        ("a.wav", "PCM_24", 2**-23),
        ("a.wav", "PCM_32", 2**-31),
        ("a.wav", "FLOAT", 2**-149),
        ("a.flac", "PCM_16", 2**-15),
        ("a.flac", "PCM_24", 2**-23),
    ],
)
def test_what_is_written_is_read_back_to_half_a_step(tmp_path, name, subtype, step):
    audio = torch.rand(2, 5000, generator=torch.Generator().manual_seed(0)) * 1.98 - 0.99
    assert write_audio(tmp_path / "new" / name, audio, 22050, subtype) == 0
    assert soundfile.info(tmp_path / "new" / name).subtype == subtype
    back, rate = soundfile.read(tmp_path / "new" / name, dtype="float64")
    assert rate == 22050
    assert np.abs(back.T - audio.double().numpy()).max() <= step / 2


def test_sixteen_bits_survive_reading_and_writing(tmp_path):
    every = np.arange(-(2**15), 2**15).astype(np.int16)
    soundfile.write(tmp_path / "a.wav", every, 22050)
    write_audio(tmp_path / "b.wav", read_audio(tmp_path / "a.wav")[0], 22050)
    assert np.array_equal(soundfile.read(tmp_path / "b.wav", dtype="int16")[0], every)


def test_samples_beyond_full_scale_are_clipped_counted_and_reported(tmp_path, capsys):
    audio = torch.tensor([0.0, 1.5, -2.0, 1.0, -1.0])
    assert write_audio(tmp_path / "a.wav", audio, 16000) == 2
    assert "2 samples beyond full scale" in capsys.readouterr().err
    expected = [0, 32767, -32768, 32767, -32768]
    assert soundfile.read(tmp_path / "a.wav", dtype="int16")[0].tolist() == expected
    assert write_audio(tmp_path / "b.wav", audio, 16000, "FLOAT") == 0
    assert torch.equal(read_audio(tmp_path / "b.wav")[0][0], audio)


@pytest.mark.parametrize(
    ("name", "audio", "subtype", "words"),
    [
        ("a.mp3", torch.zeros(9), "PCM_16", "wav or .flac"),
        ("a.flac", torch.zeros(9), "FLOAT", "use one of PCM_16, PCM_24"),
        ("a.wav", torch.tensor([0.0, float("nan")]), "PCM_16", "NaN"),
        ("a.wav", torch.zeros(0), "PCM_16", "no samples"),
        ("a.wav", torch.zeros(1, 1, 9), "PCM_16", r"shape is \[1, 1, 9\]"),
        ("a.flac", torch.zeros(20, 9), "PCM_16", "cannot write"),  # flac ends at 8 channels
    ],
)
def test_what_cannot_be_written_leaves_nothing(tmp_path, name, audio, subtype, words):
    with pytest.raises(UserError, match=words):
        write_audio(tmp_path / name, audio, 16000, subtype)
    assert list(tmp_path.iterdir()) == []


def test_find_audio_takes_files_folders_and_globs(tmp_path):
    names = ["b.wav", "a.flac", "sub/c.MP3", "sub/deep/d.ogg", "notes.txt", "._b.wav", ".x/e.wav"]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "sub" / "up").symlink_to(tmp_path)  # a circle
    found = [tmp_path / name for name in ["a.flac", "b.wav", "sub/c.MP3", "sub/deep/d.ogg"]]
    assert find_audio([tmp_path]) == found
    assert find_audio([tmp_path / "b.wav", tmp_path]) == [found[1], found[0], *found[2:]]
    assert find_audio([f"{tmp_path}/*.*"]) == found[:2]
    assert find_audio([tmp_path / "notes.txt"]) == [tmp_path / "notes.txt"]  # asked for by name
    assert find_audio([tmp_path], (".txt",)) == [tmp_path / "notes.txt"]
    for nothing in ([tmp_path / ".x" / "no"], [f"{tmp_path}/*.aif"], []):
        with pytest.raises(UserError):
            find_audio(nothing)


def test_a_folder_reached_by_a_link_is_searched(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "a.wav").touch()
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "link").symlink_to(tmp_path / "elsewhere")
    assert find_audio([tmp_path / "root"]) == [tmp_path / "root" / "link" / "a.wav"]


def test_a_reader_and_a_writer_alike_pass_every_sample_on(tmp_path):
    samples = np.random.default_rng(0).uniform(-1, 1, (5001, 3))
    soundfile.write(tmp_path / "a.wav", samples, 12345, subtype="PCM_32")
    with audio_reader(tmp_path / "a.wav") as reader:
        assert (reader.sample_rate, reader.channels, reader.frames) == (12345, 3, 5001)
        with audio_writer_like(reader, tmp_path / "b.wav") as writer:
            for block in reader.blocks(1000):
                assert block.dtype == np.float64
                assert block.shape in {(3, 1000), (3, 1)}
                writer.write(torch.from_numpy(block))
    assert (tmp_path / "b.wav").read_bytes() == (tmp_path / "a.wav").read_bytes()


@pytest.mark.parametrize(
    ("container", "subtype", "suffix", "expected"),
    [
        ("WAVEX", "PCM_24", ".WAV", ("WAVEX", "PCM_24")),
        ("RF64", "PCM_16", ".wav", ("RF64", "PCM_16")),
        ("W64", "FLOAT", ".wav", ("WAV", "FLOAT")),
        ("WAV", "DOUBLE", ".flac", ("FLAC", "PCM_24")),
        ("WAV", "PCM_U8", ".flac", ("FLAC", "PCM_16")),
        ("WAV", "IMA_ADPCM", ".wav", ("WAV", "PCM_16")),  # its blocks would change the length
        ("MP3", "MPEG_LAYER_III", ".wav", ("WAV", "PCM_16")),
        ("OGG", "VORBIS", ".opus", ("OGG", "OPUS")),
        ("OGG", "OPUS", ".ogg", ("OGG", "OPUS")),
        ("FLAC", "PCM_24", ".ogg", ("OGG", "VORBIS")),
    ],
)
def test_the_format_kept_is_the_one_that_loses_least(container, subtype, suffix, expected):
    source = SimpleNamespace(container=container, subtype=subtype, frames=1000, channels=2)
    assert kept_format(suffix, source) == expected


def test_a_wav_above_4_gb_becomes_rf64():
    source = SimpleNamespace(container="WAV", subtype="PCM_24", channels=2)
    for frames, container in ((710_000_000, "WAV"), (720_000_000, "RF64")):
        source.frames = frames
        assert kept_format(".wav", source) == (container, "PCM_24")
    with pytest.raises(UserError, match=r"\.m4a"):
        kept_format(".m4a", source)


@pytest.mark.parametrize(
    ("rate", "channels", "name", "words"),
    [
        (250_000, 1, "a.ogg", "the codec VORBIS holds up to 200000 Hz"),
        (44_100, 1, "a.opus", "the codec OPUS holds 8000, 12000, 16000, 24000, 48000 Hz"),
        (96_000, 1, "a.mp3", "the codec MPEG_LAYER_III holds 8000, 11025"),
        (44_100, 3, "a.mp3", "up to 2 channels"),
        (44_100, 9, "a.flac", "the codec FLAC holds up to 655350 Hz and up to 8 channels"),
    ],
)
def test_what_a_codec_cannot_hold_is_refused_before_it_is_opened(
    tmp_path, rate, channels, name, words
):
    source = tmp_path / "a.wav"
    soundfile.write(source, np.zeros((100, channels)), rate)
    with (
        audio_reader(source) as reader,
        pytest.raises(UserError, match=words),
        audio_writer_like(reader, tmp_path / name),
    ):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["a.wav"]


@pytest.mark.parametrize("value", [1e20, -1e30, np.nan, np.inf])
def test_a_sample_that_cannot_be_sound_is_named(tmp_path, value):
    samples = np.zeros((3000, 2), np.float32)
    samples[1000, 1] = value
    path = tmp_path / "a.wav"
    soundfile.write(path, samples, 16000, subtype="FLOAT")
    with pytest.raises(BadAudio, match="sample 1000 is"):
        read_audio(path)
    with pytest.raises(BadAudio, match="sample 1000 is"), audio_reader(path) as reader:
        list(reader.blocks(300))
    with pytest.raises(BadAudio, match="sample 1000 is"):
        read_audio(path, start=700)
