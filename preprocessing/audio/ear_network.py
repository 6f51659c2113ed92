"""The layers of Whisper tiny's encoder that the ear needs, and its spectrogram: sound in, columns of meaning out.

Written out here and not taken from transformers: two layers of it are needed, in 80 lines that import in no time, and
the weights are kept as they were published, 8 bits each with a scale per row. Where they come from: `ear.md`.

T columns, D width, H heads.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch
from scipy.signal.windows import hann
from torch import Tensor, nn
from torch.nn.functional import gelu, scaled_dot_product_attention

from preprocessing.audio.mel import mel_filters
from shards.schema import F32, F64

WIDTH, HEADS, FEEDFORWARD = 384, 6, 1536
NUM_MELS, MEL_WINDOW, MEL_HOP = 80, 400, 160
_RANGE = 8.0
"""Decades below a window's loudest cell at which its softest are cut off."""
SCALE = ".scale"
"""What the name of a weight of 8 bits gets for its scales."""


def log_mel(sound: F32, count: int) -> F32:
    """(80, count) of Whisper; the first column is centred 200 samples into the sound, the others 160 apart."""
    windows = np.lib.stride_tricks.sliding_window_view(sound.astype(np.float64), MEL_WINDOW)[::MEL_HOP][:count]
    power = np.abs(np.fft.rfft(windows * _HANN, axis=1)) ** 2
    decades = np.log10(np.maximum(power @ _FILTERS.T, 1e-10))
    scaled: F64 = (np.maximum(decades, decades.max() - _RANGE) + 4) / 4
    return np.ascontiguousarray(scaled.T, dtype=np.float32)


class _Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.before_attention, self.before_feedforward = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.query, self.value = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.key = nn.Linear(WIDTH, WIDTH, bias=False)
        self.attended = nn.Linear(WIDTH, WIDTH)
        self.widen, self.narrow = nn.Linear(WIDTH, FEEDFORWARD), nn.Linear(FEEDFORWARD, WIDTH)

    def forward(self, x_TD: Tensor) -> Tensor:
        h_TD = self.before_attention(x_TD)
        q, k, v = (net(h_TD).unflatten(-1, (HEADS, -1)).transpose(0, 1)[None] for net in self._of_attention())
        x_TD = x_TD + self.attended(scaled_dot_product_attention(q, k, v)[0].transpose(0, 1).flatten(1))
        out: Tensor = x_TD + self.narrow(gelu(self.widen(self.before_feedforward(x_TD))))
        return out

    def _of_attention(self) -> tuple[nn.Linear, ...]:
        return self.query, self.key, self.value


class EarNetwork(nn.Module):
    """(80, 2T) -> (T, dim): convolutions, `layers` layers, and the directions in which their output varies most."""

    def __init__(self, layers: int, dim: int) -> None:
        super().__init__()
        self.first = nn.Conv1d(NUM_MELS, WIDTH, 3, padding=1)
        self.second = nn.Conv1d(WIDTH, WIDTH, 3, padding=1, stride=2)
        self.layers = nn.ModuleList(_Layer() for _ in range(layers))
        self.norm = nn.LayerNorm(WIDTH, elementwise_affine=False)
        self.directions = nn.Linear(WIDTH, dim)

    def forward(self, mel_CT: Tensor) -> Tensor:
        out: Tensor = self.directions(self.hidden(mel_CT))
        return out

    def hidden(self, mel_CT: Tensor) -> Tensor:
        """(T, D) before the directions, each column normalised by itself."""
        x_TD = gelu(self.second(gelu(self.first(mel_CT)))).T
        x_TD = x_TD + _places(len(x_TD))
        for layer in self.layers:
            x_TD = layer(x_TD)
        out: Tensor = self.norm(x_TD)
        return out


def unpacked(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights of 8 bits times the scale of their row; the others as they are."""
    return {
        name: x * tensors[name + SCALE].reshape(-1, *[1] * (x.ndim - 1)) if name + SCALE in tensors else x
        for name, x in tensors.items()
        if not name.endswith(SCALE)
    }


def _places(count: int) -> Tensor:
    """(T, D) sines, then cosines, of the place in the window."""
    half = WIDTH // 2
    rate = torch.exp(torch.arange(half) * (-math.log(10_000.0) / (half - 1)))
    angle = torch.arange(count)[:, None] * rate
    return torch.cat([angle.sin(), angle.cos()], dim=1)


_HANN: F64 = hann(MEL_WINDOW, sym=False)
_FILTERS: F64 = mel_filters(0.0, 8000.0, NUM_MELS, MEL_WINDOW)
