"""What the page does with a sound: clean it, vocode it.

The jobs of ``app_worker`` take the path of an upload, and write their results into a folder.
"""

from __future__ import annotations

import math
from pathlib import Path

from wavediff.commands.app_jobs import (
    Result,
    blocks,
    compared,
    noted,
    number,
    result,
    result_like,
    sound,
)
from wavediff.commands.app_models import Progress, Setting, enhancer, vocoder
from wavediff.commands.arguments import dry_share

NO_LIMIT = 60.0  # dB of attenuation from which on it is not limited


def clean(
    upload: str, strength: float, setting: Setting, folder: Path, progress: Progress
) -> Result:
    """Denoise a recording; the output is like the input.

    Args:
        strength: the most that noise is attenuated, in dB; from ``NO_LIMIT`` on without a limit.
    """
    import torch

    from wavediff.data.audio import audio_reader, audio_writer_like

    strength = number("the attenuation", strength, 0, NO_LIMIT)
    dry = dry_share(None if strength >= NO_LIMIT else strength)
    source = sound(upload, setting)
    model = enhancer(setting)
    with audio_reader(source) as reader:
        target = result_like(folder, source, "clean")
        seconds = reader.frames / reader.sample_rate
        stream = model.stream(
            reader.sample_rate,
            reader.channels,
            dry=dry,
            chunk_seconds=None,
            progress=lambda done: progress(done / seconds),
        )
        with audio_writer_like(reader, target) as writer:
            for block in blocks(reader, setting):
                writer.write(torch.from_numpy(stream.push(block)))
            writer.write(torch.from_numpy(stream.finish()))
    return compared(source, target, [], noted(reader, writer))


def vocode(upload: str, setting: Setting, folder: Path, progress: Progress) -> Result:
    """Analyse a recording as a mel, and synthesise it again from that alone."""
    import numpy as np
    import torch

    from wavediff.data.audio import audio_reader, audio_writer, read_audio
    from wavediff.tasks.vocoder_stream import VocoderStream

    source = sound(upload, setting)
    model = vocoder(setting)
    with audio_reader(source) as reader:
        longest = math.ceil(setting.seconds * reader.sample_rate)
    audio, _ = read_audio(source, model.sample_rate, frames=longest)
    with torch.inference_mode():
        mel = model.analyse(audio[None].to(model.device))
    seconds = audio.shape[-1] / model.sample_rate
    stream = VocoderStream(
        model,
        sampler=model.with_sampler(None, None),
        checked=True,
        progress=lambda done: progress(done / seconds),
    )
    pieces = [torch.as_tensor(stream.push(mel)), torch.as_tensor(stream.finish())]
    again = torch.cat(pieces, dim=-1).float().cpu()[:, : audio.shape[-1]]
    target = result(folder, source, "vocoded", ".wav")
    with audio_writer(target, model.sample_rate) as writer:
        writer.write(again)
    array = result(folder, source, "mel", ".npy")
    np.save(array, mel[0].cpu().numpy())
    notes = noted(reader, writer)
    notes.insert(0, f"from a mel of {mel.shape[1]} x {mel.shape[2]} values alone")
    return compared(source, target, [array], notes)
