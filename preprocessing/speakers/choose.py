"""Turns: which of the faces of a shot speaks when, from evidence that trembles.

One search decides the whole shot (Viterbi's): in each voiced moment a face earns by how far its evidence is above the
border, nobody earns nothing, and every change of speaker costs. So a change must be worth its price: a turn between two
others lasts at least `SHORTEST_S` even where the evidence could not be clearer, and longer where it is weak. Where no
voice is heard there is nothing to earn, and whoever had the turn keeps it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from preprocessing.faces.base import Analysis, Shot
from shards.schema import F64, I64, FrameTimes

NOBODY = -1
"""No face of the shot: the voice is off screen, or there is none."""
BORDER = 0.5
"""Evidence above this speaks for the face."""
ALONE = 0.3
"""The same where one person is all that is seen: then a mouth that moves at all mostly is the one that
speaks, and to miss it costs more than to dub somebody who chews."""
SHORTEST_S = 0.6


def shot_turns(analysis: Analysis, shot: Shot, tracks: Sequence[int]) -> I64:
    """(shot's frames,) which of `tracks`, by its place in that list, has the turn in the source, or NOBODY."""
    evidence = np.full((len(tracks), shot.stop - shot.start), np.nan)
    for row, number in enumerate(tracks):
        track = analysis.tracks[number].track
        evidence[row, track.start - shot.start : track.stop - shot.start] = analysis.speaking(number)
    voice = np.ones(shot.stop - shot.start) if analysis.heard is None else analysis.heard.voice[shot.start : shot.stop]
    is_alone = len({analysis.tracks[number].identity for number in tracks}) == 1
    seconds = frame_seconds(analysis.times)[shot.start : shot.stop]
    return turns(evidence, voice.astype(np.float64), seconds, border=ALONE if is_alone else BORDER)


def turns(evidence: F64, voice: F64, seconds: F64, *, border: float = BORDER) -> I64:
    """(T,) the number of the face that has the turn, or NOBODY.

    `evidence` is (K, T), NaN where a face is not there; `voice` (T,) in [0, 1]; `seconds` (T,) how long each frame is
    shown.
    """
    earned = (evidence - border) * voice * seconds
    # Without voice there is nothing to earn, but a face that is not there cannot have the turn either.
    gain = np.vstack([np.zeros((1, evidence.shape[1])), np.where(np.isnan(evidence), -np.inf, earned)])
    # In evidence times seconds: the shortest turn, when nothing could be clearer, just pays for its two changes.
    price = SHORTEST_S / 2 * (1.0 if len(evidence) > 1 else 1 - border)
    best, came_from = gain[:, 0].tolist(), np.empty(gain.shape, dtype=np.int64)
    for t, earned_now in enumerate(gain.T[1:].tolist(), start=1):
        # Whoever changes comes from whoever stands best; where it is all one, later: in a pause, at its end.
        leader = max(range(len(best)), key=best.__getitem__)
        entry = best[leader] - price
        came_from[:, t] = [state if stands > entry else leader for state, stands in enumerate(best)]
        best = [max(stands, entry) + now for stands, now in zip(best, earned_now, strict=True)]
    chosen, state = np.empty(gain.shape[1], dtype=np.int64), max(range(len(best)), key=best.__getitem__)
    for t in range(gain.shape[1] - 1, -1, -1):
        chosen[t] = state
        state = int(came_from[state, t]) if t else state
    # Nobody came first: where nothing is earned at all, nobody has the turn.
    return chosen - 1


def frame_seconds(times: FrameTimes) -> F64:
    """(T,) how long each frame is shown; the last one as long as most are."""
    steps = np.diff(times.seconds())
    return np.append(steps, np.median(steps) if len(steps) else 0.04)
