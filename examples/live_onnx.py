"""Clean a recording frame by frame with numpy and onnxruntime alone.

    wavediff export enhancer-live-16k -o live.onnx
    python live_onnx.py live.onnx noisy.wav clean.wav       # 16-bit mono, at the model's rate

A block of 16 ms depends on nothing later than the block after it: the same loop cleans what comes
from a microphone.
"""

import json
import sys
import wave

import numpy as np
import onnxruntime


class Live:
    """``push`` a block, get the block before it, enhanced."""

    def __init__(self, path: str) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(path, options)
        self.info = json.loads(self.session.get_modelmeta().custom_metadata_map["wavediff"])
        self.hop, n_fft = self.info["hop_length"], self.info["n_fft"]
        self.window = np.array(self.info["window"])
        self.synthesis = np.array(self.info["synthesis_window"])
        self.state = {
            name: np.zeros((1, *shape[1:]), np.float32)
            for name, shape in self.info["state"].items()
        }
        self.history, self.tail = np.zeros(n_fft), np.zeros(self.hop)
        self.energies = np.zeros(self.info["level_blocks"])
        self.before = self.after = 0.0  # of a high-pass at 4 Hz: its last input and output
        self.level, self.last = None, np.zeros(self.hop)
        self.pole = np.exp(-2 * np.pi * 4.0 / self.info["sample_rate"])

    def push(self, block: np.ndarray) -> np.ndarray:
        x = np.zeros(self.hop)  # the last block may be shorter
        for n, sample in enumerate(block):
            self.after = sample - self.before + self.pole * self.after
            self.before, x[n] = sample, self.after
        self.energies = np.append(self.energies[1:], np.mean(x**2))
        sounding = np.count_nonzero(self.energies)
        end = np.sqrt(self.energies.sum() / max(1, sounding)) / self.info["level_rms"]
        start = self.level or end
        level = start + (end - start) * np.arange(1, self.hop + 1) / self.hop
        self.level = end
        new = np.divide(x, level, out=np.zeros(self.hop), where=level > 0)
        self.history = np.append(self.history[self.hop :], new)
        spectrum = np.fft.rfft(self.history * self.window)
        parts = np.stack([spectrum.real, spectrum.imag], -1)[None, :, None]
        out, *state = self.session.run(None, {"spectrum": np.float32(parts)} | self.state)
        self.state = dict(zip(self.state, state, strict=True))
        frame = np.fft.irfft(out[0, :, 0, 0] + 1j * out[0, :, 0, 1], len(self.window))
        frame = frame[-2 * self.hop :] * self.synthesis * bool(self.history.any())
        done, self.tail = frame[: self.hop] + self.tail, frame[self.hop :]
        before, self.last = self.last, level
        return np.clip(done * before, -1, 1)


def main(model: str, source: str, target: str) -> None:
    live = Live(model)
    with wave.open(source) as file:
        audio = np.frombuffer(file.readframes(file.getnframes()), "<i2") / 32768
        assert (file.getnchannels(), file.getframerate()) == (1, live.info["sample_rate"])
    live.before = audio[0]
    starts = range(0, len(audio) + live.hop, live.hop)
    blocks = [live.push(audio[start : start + live.hop]) for start in starts]
    clean = np.concatenate(blocks[1:])[: len(audio)]
    with wave.open(target, "wb") as file:
        file.setparams((1, 2, live.info["sample_rate"], 0, "NONE", ""))
        file.writeframes(np.clip(np.round(clean * 32768), -32768, 32767).astype("<i2").tobytes())


if __name__ == "__main__":
    main(*sys.argv[1:]) if len(sys.argv) == 4 else sys.exit(__doc__)
