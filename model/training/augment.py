"""The same sentence by other throats in other rooms, the same face a little elsewhere: for data that knows few people.

Only completion learns from these: the pictures are not changed, so a denoiser would be told of landmarks that lie.

B windows, T frames, W audio columns, C feature channels, P points, N references.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from model.batch import ClipBatch
from model.completion import SPECTROGRAM

LEVEL, TILT = 0.35, 0.3
"""Deviations of loudness and of its slope over the bands, in the mel's units: 0.35 is 4 dB."""
FLOORED = 0.4
"""Share of windows that get a noise floor, somewhere in the lower 3/8 of the mel's range."""
ROUGHNESS = 0.15
"""Deviation of that floor from cell to cell."""
BANDS = 3
"""Most bands by which a voice is moved up or down."""
LOWEST, HIGHEST = -4.0, 4.0
"""The mel's range."""
SCALE, SHIFT = 0.04, 0.03
"""Deviations of a face's size and place, in crop units."""


def varied(batch: ClipBatch, features: Mapping[str, int], generator: torch.Generator) -> ClipBatch:
    """Another voice and another place for each window; lips, timing and the person stay."""
    b = len(batch.audio_BTWC)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator).to(batch.landmarks_BTP2)

    grow, move = 1 + SCALE * normal(b, 1, 1, 1), SHIFT * normal(b, 1, 1, 2)
    seen = batch.seen_BT[..., None, None]
    return replace(
        batch,
        audio_BTWC=_another_voice(batch.audio_BTWC, features, generator),
        landmarks_BTP2=torch.where(seen, batch.landmarks_BTP2 * grow + move, batch.landmarks_BTP2),
        ref_landmarks_BNP2=batch.ref_landmarks_BNP2 * grow + move,
    )


def _another_voice(audio_BTWC: Tensor, features: Mapping[str, int], generator: torch.Generator) -> Tensor:
    """The spectrogram alone is changed: the other features were made to be the same for any voice."""
    if SPECTROGRAM not in features:
        return audio_BTWC
    names = list(features)
    first = sum(features[name] for name in names[: names.index(SPECTROGRAM)])
    bands = features[SPECTROGRAM]
    mel = audio_BTWC[..., first : first + bands]
    b = len(mel)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator).to(mel)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator).to(mel)

    slope_C = torch.linspace(-1, 1, bands).to(mel)
    mel = mel + LEVEL * normal(b, 1, 1, 1) + TILT * normal(b, 1, 1, 1) * slope_C
    has_floor = uniform(b, 1, 1, 1) < FLOORED
    floor = torch.where(has_floor, LOWEST + 3 * uniform(b, 1, 1, 1), LOWEST)
    mel = torch.maximum(mel, floor + ROUGHNESS * normal(*mel.shape))
    # Up or down by whole bands; what comes in at an end is the band that was last there.
    by_B1 = torch.randint(-BANDS, BANDS + 1, (b, 1), generator=generator)
    from_BC = (torch.arange(bands) - by_B1).clamp(0, bands - 1).to(mel.device)
    mel = mel.gather(-1, from_BC[:, None, None].expand_as(mel))
    parts = [audio_BTWC[..., :first], mel.clamp(LOWEST, HIGHEST), audio_BTWC[..., first + bands :]]
    return torch.cat(parts, dim=-1)
