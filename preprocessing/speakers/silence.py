"""Where the new speech is silent: frames that stay the source's, and mouths that are made to close.

A closed mouth of the source's own is the best closed mouth there is, so where nothing is said it stays. Elsewhere the
made mouth is pressed shut, the way this person's mouth closes: completion under silence tends to the neutral mouth,
which is a little open.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation

from preprocessing.audio.activity import HOP_S
from preprocessing.quality.mouth import eye_distance, mouth_opening
from preprocessing.speakers.voices import voice_of
from shards.schema import F32, F64, Landmarks, Speech

MARGIN_S = 0.12
"""So near to a voice it is no silence: lips move before the sound begins and after it ends."""
CLOSED, OPEN = 0.03, 0.05
"""Eye units above the person's most closed mouth: at the first a mouth has closed, above the second it has opened."""
SHORTEST_MADE_S, SHORTEST_KEPT_S = 0.24, 0.48
"""Six frames of 25 a second made, twelve kept: less is not worth the fades around it. More of what is kept, for there
the fades take from both of its ends."""
CLOSES_AFTER_S, CLOSING_S = 0.3, 0.1
"""A silence as long as the first closes the mouth, over the second, and opens it again in time."""
PRESSED = 0.3
"""Of the references' mean opening, beyond shut: told of lips that just touch, a denoiser draws them ajar. On 15 people
it had never seen 71 of 100 frames came out closed by their most closed reference, 72 by touching lips, 93 by this."""
_LEAST_SPREAD = 0.01
"""Eye units, standard deviation of the references' openings: with less nobody has seen how this mouth closes."""
Mask = NDArray[np.bool_]


def silent_at(speech: Speech, at_s: F64) -> Mask:
    """(T,) moments of the speech's clock at which nothing is said, nor near them."""
    active = voice_of(speech)
    reach = round(MARGIN_S / HOP_S)
    near = binary_dilation(np.pad(active, reach), np.ones(2 * reach + 1, dtype=bool))
    place = np.round((at_s - float(speech.origin_s)) / HOP_S).astype(int) + reach
    inside = (place >= 0) & (place < len(near))
    out: Mask = ~(inside & near[np.clip(place, 0, len(near) - 1)])
    return out


def stays_closed(source: Landmarks, references: Landmarks, silent: Mask, at_s: F64) -> Mask:
    """(T,) frames to leave as they are: nothing is said, and the source's mouth is closed."""
    above = mouth_opening(source) - mouth_opening(references).min()
    closed = _held(above <= CLOSED, above <= OPEN)
    kept = silent & closed
    # First what was left open for a moment in a silence, then what was closed for a moment in speech.
    for a, b in _short_runs(~kept, at_s, SHORTEST_MADE_S):
        kept[a:b] |= silent[a:b].all()
    for a, b in _short_runs(kept, at_s, SHORTEST_KEPT_S):
        kept[a:b] = False
    return kept


def closing_weight(silent: Mask, at_s: F64) -> F64:
    """(T,) how far the mouth is to be closed: 1 inside a longer silence, 0 in speech."""
    weight = np.zeros(len(silent))
    for a, b in _runs(silent):
        # What begins or ends beyond the known frames was silent there, or nobody can say: it does not open for that.
        since = at_s[a:b] - at_s[a] if a > 0 else np.full(b - a, np.inf)
        until = at_s[b - 1] - at_s[a:b] if b < len(silent) else np.full(b - a, np.inf)
        if at_s[b - 1] - at_s[a] >= CLOSES_AFTER_S:
            weight[a:b] = np.clip(np.minimum(since, until) / CLOSING_S, 0.0, 1.0)
    return weight


def closed(made: Landmarks, references: Landmarks, weight: F64) -> F32:
    """(T, P, 2) the made points, closed by `weight`.

    Lips and jaw move together as they do in the references: by the slope of each point over the mouth's opening there.
    """
    shape, opening = made.topology, _opening_px(references)
    content = list(shape.content)
    spread = opening - opening.mean()
    points = made.points.copy()
    if len(opening) < 2 or opening.std() < _LEAST_SPREAD * float(np.median(eye_distance(references))):
        return points
    slope = np.einsum("n,ncd->cd", spread, references.points[:, content].astype(np.float64)) / (spread**2).sum()
    shut = -PRESSED * opening.mean()
    too_far = np.minimum(shut - _opening_px(made), 0.0) * weight
    points[:, content] += (too_far[:, None, None] * slope).astype(np.float32)
    return points


def _opening_px(landmarks: Landmarks) -> F64:
    out: F64 = mouth_opening(landmarks) * eye_distance(landmarks)
    return out


def _held(enters: Mask, stays: Mask) -> Mask:
    """True from where `enters` holds for as long as `stays` does."""
    out, is_on = np.zeros(len(enters), dtype=bool), False
    for t in range(len(enters)):
        is_on = bool(enters[t]) or (is_on and bool(stays[t]))
        out[t] = is_on
    return out


def _runs(flags: Mask) -> list[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flags.astype(np.int8), [0]])))
    return [(int(a), int(b)) for a, b in edges.reshape(-1, 2)]


def _short_runs(flags: Mask, at_s: F64, shortest_s: float) -> list[tuple[int, int]]:
    """Those between others; of what reaches the ends nobody knows how long it is."""
    inner = [(a, b) for a, b in _runs(flags) if a > 0 and b < len(flags)]
    return [(a, b) for a, b in inner if at_s[b] - at_s[a] < shortest_s - 1e-6]
