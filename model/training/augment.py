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
from model.training.draws import Draws

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


def varied(batch: ClipBatch, features: Mapping[str, int], draws: Draws) -> ClipBatch:
    """Another voice and another place for each window; lips, timing and the person stay."""
    lm = batch.landmarks_BTP2
    grow, move = (1 + SCALE * draws.normal(1, 1, 1)).to(lm), (SHIFT * draws.normal(1, 1, 2)).to(lm)
    return replace(
        batch,
        audio_BTWC=_another_voice(batch.audio_BTWC, features, draws),
        landmarks_BTP2=torch.where(batch.seen_BT[..., None, None], lm * grow + move, lm),
        ref_landmarks_BNP2=batch.ref_landmarks_BNP2 * grow + move,
    )


def _another_voice(audio_BTWC: Tensor, features: Mapping[str, int], draws: Draws) -> Tensor:
    """The spectrogram alone is changed: the other features were made to be the same for any voice."""
    if SPECTROGRAM not in features:
        return audio_BTWC
    names, bands = list(features), features[SPECTROGRAM]
    first = sum(features[name] for name in names[: names.index(SPECTROGRAM)])
    mel = audio_BTWC[..., first : first + bands]
    mel = mel + (LEVEL * draws.normal(1, 1, 1)).to(mel) + (TILT * draws.normal(1, 1, 1)).to(mel) * _slope(mel)
    floor = torch.where(draws.uniform(1, 1, 1) < FLOORED, LOWEST + 3 * draws.uniform(1, 1, 1), LOWEST)
    mel = torch.maximum(mel, (floor + ROUGHNESS * draws.normal(*mel.shape[1:])).to(mel))
    # Up or down by whole bands; what comes in at an end is the band that was last there.
    by_B1 = draws.whole(2 * BANDS + 1, 1) - BANDS
    from_BC = (torch.arange(bands) - by_B1).clamp(0, bands - 1).to(mel.device)
    mel = mel.gather(-1, from_BC[:, None, None].expand_as(mel))
    return torch.cat([audio_BTWC[..., :first], mel.clamp(LOWEST, HIGHEST), audio_BTWC[..., first + bands :]], dim=-1)


def _slope(mel: Tensor) -> Tensor:
    """(C,) from -1 in the lowest band to 1 in the highest."""
    return torch.linspace(-1, 1, mel.shape[-1]).to(mel)
