"""LSE-C and LSE-D: the public SyncNet, judged exactly as the published evaluation does. The weights are the user's.

Owns: the network (two streams, 5 frames of 224 x 224 against 0.2 s of sound), its ear (MFCC), the four figures, and the
loading of a local file with a clear account of what does not fit. Our own expert, with our own conventions, is
`sync.py`. What the crop shows is the caller's: figures compare with published ones only where the pictures are cropped
as there, a detector's box enlarged by 40 %, smoothed over the track, at 25 frames a second.

T frames, H W picture, N windows, D = 1024 outputs.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from scipy.fft import dct
from torch import Tensor, nn
from torch.nn.functional import pad, pairwise_distance

from model.errors import CheckpointDamaged
from shards.errors import RequestError
from shards.schema import F64, U8, Speech

SIDE_PX, FPS, RATE_HZ = 224, 25, 16_000
WINDOW = 5
"""Frames that the eye sees at once."""
COLUMNS_PER_FRAME, COLUMNS = 4, 20
"""MFCC columns, 100 a second: to the next frame, and that the ear hears at once."""
VSHIFT = 15
"""Frames by which the sound is moved either way."""
_AT_ONCE = 20
"""Windows encoded together."""


# -- the network -------------------------------------------------------------------------------------------------------


class SyncNet(nn.Module):
    """The published network; its attributes are named so that the published tensors fit."""

    def __init__(self) -> None:
        super().__init__()
        self.netcnnaud = nn.Sequential(
            *_conv2d(1, 64, 3, 1),
            nn.MaxPool2d(1, stride=1),
            *_conv2d(64, 192, 3, 1),
            nn.MaxPool2d(3, stride=(1, 2)),
            *_conv2d(192, 384, 3, 1),
            *_conv2d(384, 256, 3, 1),
            *_conv2d(256, 256, 3, 1),
            nn.MaxPool2d(3, stride=2),
            *_conv2d(256, 512, (5, 4), 0),
        )
        self.netcnnlip = nn.Sequential(
            *_conv3d(3, 96, (WINDOW, 7, 7), stride=2),
            nn.MaxPool3d((1, 3, 3), stride=(1, 2, 2)),
            *_conv3d(96, 256, (1, 5, 5), stride=2, padding=1),
            nn.MaxPool3d((1, 3, 3), stride=(1, 2, 2), padding=(0, 1, 1)),
            *_conv3d(256, 256, (1, 3, 3), padding=1),
            *_conv3d(256, 256, (1, 3, 3), padding=1),
            *_conv3d(256, 256, (1, 3, 3), padding=1),
            nn.MaxPool3d((1, 3, 3), stride=(1, 2, 2)),
            *_conv3d(256, 512, (1, 6, 6)),
        )
        self.netfcaud, self.netfclip = _head(), _head()

    def see(self, frames_N3THW: Tensor) -> Tensor:
        """(N, D) of 5 frames of 224 x 224, blue-green-red, 0..255."""
        out: Tensor = self.netfclip(self.netcnnlip(frames_N3THW).flatten(1))
        return out

    def hear(self, mfcc_N1CW: Tensor) -> Tensor:
        """(N, D) of 13 coefficients x 20 columns."""
        out: Tensor = self.netfcaud(self.netcnnaud(mfcc_N1CW).flatten(1))
        return out


def _conv2d(c_in: int, c_out: int, kernel: int | tuple[int, int], padding: int) -> tuple[nn.Module, ...]:
    return nn.Conv2d(c_in, c_out, kernel, padding=padding), nn.BatchNorm2d(c_out), nn.ReLU()


def _conv3d(
    c_in: int, c_out: int, kernel: tuple[int, int, int], *, stride: int = 1, padding: int = 0
) -> tuple[nn.Module, ...]:
    """Strides and pads within the picture only."""
    conv = nn.Conv3d(c_in, c_out, kernel, stride=(1, stride, stride), padding=(0, padding, padding))
    return conv, nn.BatchNorm3d(c_out), nn.ReLU()


def _head() -> nn.Sequential:
    return nn.Sequential(nn.Linear(512, 512), nn.BatchNorm1d(512), nn.ReLU(), nn.Linear(512, 1024))


# -- the weights -------------------------------------------------------------------------------------------------------


def load_syncnet(path: Path) -> SyncNet:
    """The network with the weights of a local file (`.safetensors`, or a state dict that torch saved); never unpickled.

    Refuses a file that is not exactly this network, naming the tensors.
    """
    if not path.is_file():
        raise RequestError(
            "no such file; the public weights are `syncnet_v2.model` of the SyncNet authors",
            field="syncnet",
            value=path,
        )
    net = SyncNet()
    weights = _read(path)
    if problems := _misfit(net.state_dict(), weights):
        raise RequestError(
            f"these are not SyncNet's weights (1024 outputs): {problems}", field="syncnet", value=str(path)
        )
    net.load_state_dict(weights, strict=False)
    return net.eval().requires_grad_(False)


def _read(path: Path) -> Mapping[str, Tensor]:
    try:
        found: Any = (
            load_file(path)
            if path.suffix == ".safetensors"
            else torch.load(path, map_location="cpu", weights_only=True)
        )
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise CheckpointDamaged(
            f"{path}: no tensors can be read from it without unpickling; save its state dict again, as safetensors: "
            f"{error}"
        ) from error
    if not isinstance(found, Mapping) or not all(isinstance(value, Tensor) for value in found.values()):
        raise CheckpointDamaged(f"{path}: holds a {type(found).__name__}, not a state dict; save `net.state_dict()`")
    return found


def _misfit(own: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> str:
    """What is missing, unexpected and of another shape; empty if nothing."""
    # Counters of training steps: files older than torch 0.4 have none, and judging does not need them.
    needed = {name for name in own if not name.endswith("num_batches_tracked")}
    shapes = (
        f"{name} {tuple(given[name].shape)} for {tuple(own[name].shape)}"
        for name in sorted(needed & given.keys())
        if given[name].shape != own[name].shape
    )
    found = {
        "missing": sorted(needed - given.keys()),
        "unexpected": sorted(given.keys() - own.keys()),
        "of another shape": list(shapes),
    }
    return "; ".join(f"{len(names)} {what}: {_few(names)}" for what, names in found.items() if names)


def _few(names: list[str], most: int = 4) -> str:
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")


# -- the figures -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class LipSyncError:
    """The published figures of one clip."""

    lse_d: float
    """Mean distance at the best offset: less is better."""
    lse_c: float
    """Median of the mean distances over all offsets, less `lse_d`: more is better."""
    av_offset: int
    """As published: frames by which the sound is *early* where it fits best; negative when it is late."""
    distance_at_zero: float
    """Mean distance as the clip is; not published, and what a dubbed clip should be compared by."""

    @property
    def late_frames(self) -> int:
        """By how many frames the sound is late: the sign of `SyncScore.offset_frames`."""
        return -self.av_offset


def lip_sync_error(net: SyncNet, frames: U8, speech: Speech) -> LipSyncError:
    """Of (T, 224, 224, 3) RGB crops at 25 frames a second and their 16 kHz sound, zero at the first frame."""
    count, side = len(frames), frames.shape[1:]
    if side != (SIDE_PX, SIDE_PX, 3):
        raise RequestError(f"SyncNet looks at {SIDE_PX} x {SIDE_PX} RGB crops", field="frames", value=side)
    if speech.rate_hz != RATE_HZ:
        raise RequestError(f"SyncNet hears {RATE_HZ} Hz", field="speech", value=speech.rate_hz)
    sound = speech.between(Fraction(0), Fraction(count, FPS)).samples[: count * RATE_HZ // FPS]
    # The published loop leaves the last possible window out; so do its figures.
    windows = count - WINDOW
    if windows < 1:
        raise RequestError(f"SyncNet needs {WINDOW + 1} frames", field="frames", value=count)
    return score_distances(*_encoded(net, frames, mfcc(sound.astype(np.float64)), windows))


@torch.no_grad()
def _encoded(net: SyncNet, frames: U8, columns: F64, windows: int) -> tuple[Tensor, Tensor]:
    """(N, D) seen and (N, D) heard; blocks of frames become floats, not the whole clip."""
    device = next(net.parameters()).device
    bgr_3THW = torch.from_numpy(np.ascontiguousarray(frames[..., ::-1])).permute(3, 0, 1, 2)
    mfcc_WC = torch.from_numpy(columns).float()
    seen, heard = [], []
    for first in range(0, windows, _AT_ONCE):
        rows = range(first, min(first + _AT_ONCE, windows))
        eyes = torch.stack([bgr_3THW[:, row : row + WINDOW] for row in rows]).float()
        ears = torch.stack([mfcc_WC[COLUMNS_PER_FRAME * row :][:COLUMNS].T[None] for row in rows])
        seen.append(net.see(eyes.to(device)).cpu())
        heard.append(net.hear(ears.to(device)).cpu())
    return torch.cat(seen), torch.cat(heard)


def score_distances(seen_ND: Tensor, heard_ND: Tensor, vshift: int = VSHIFT) -> LipSyncError:
    """The published arithmetic, its two quirks with it: beyond the ends of the clip the sound is a zero vector, and
    1e-6 is added to each coordinate's difference."""
    n, padded = len(seen_ND), pad(heard_ND, (0, 0, vshift, vshift))
    by_shift = torch.stack([pairwise_distance(seen_ND, padded[k : k + n], eps=1e-6) for k in range(2 * vshift + 1)])
    means = by_shift.mean(dim=1)
    least, best = means.min(dim=0)
    return LipSyncError(
        lse_d=float(least),
        lse_c=float(means.median() - least),
        av_offset=vshift - int(best),
        distance_at_zero=float(means[vshift]),
    )


# -- the ear -----------------------------------------------------------------------------------------------------------

_STEP, _LENGTH, _FFT = 160, 400, 512
_NUM_FILTERS, _NUM_CEPSTRA, _LIFTER, _PRE_EMPHASIS = 26, 13, 22, 0.97


def mfcc(samples: F64) -> F64:
    """(W, 13) of 16 kHz sound in units of int16, 100 columns a second: `python_speech_features.mfcc` by its defaults.

    25 ms without a window function, filters whose corners are whole lines of the spectrum, orthonormal cosine
    transform, liftered, and the log energy of the frame for the first coefficient.
    """
    columns = 1 + max(-(-(len(samples) - _LENGTH) // _STEP), 0)
    emphasised = np.zeros((columns - 1) * _STEP + _LENGTH)
    emphasised[: len(samples)] = np.append(samples[:1], samples[1:] - _PRE_EMPHASIS * samples[:-1])
    frames = np.lib.stride_tricks.sliding_window_view(emphasised, _LENGTH)[::_STEP]
    power = np.abs(np.fft.rfft(frames, _FFT)) ** 2 / _FFT
    cepstra: F64 = dct(_log(power @ _filters().T), norm="ortho", axis=1)[:, :_NUM_CEPSTRA]
    cepstra *= 1 + _LIFTER / 2 * np.sin(np.pi * np.arange(_NUM_CEPSTRA) / _LIFTER)
    cepstra[:, 0] = _log(power.sum(axis=1))
    return cepstra


def _log(energy: F64) -> F64:
    """Of nothing at all: the log of the smallest step of a float64, as there."""
    out: F64 = np.log(np.where(energy == 0, np.finfo(np.float64).eps, energy))
    return out


def _filters() -> F64:
    """(26, 257) triangles from 0 Hz to half the rate, each 1 at its middle."""
    top = 2595 * np.log10(1 + RATE_HZ / 2 / 700)
    hz = 700 * (10 ** (np.linspace(0, top, _NUM_FILTERS + 2) / 2595) - 1)
    corners = np.floor((_FFT + 1) * hz / RATE_HZ)
    low, middle, high = corners[:-2, None], corners[1:-1, None], corners[2:, None]
    line = np.arange(_FFT // 2 + 1)
    rising, falling = (line - low) / (middle - low), (high - line) / (high - middle)
    out: F64 = np.clip(np.minimum(rising, falling), 0, None)
    return out
