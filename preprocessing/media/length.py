"""How long a finished picture is when the new speech is longer or shorter than the old one.

Owns the five policies as far as they change frames: which frames of the source are shown, and when. What happens to the
sound is `delivery.py`.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Literal

import numpy as np

from preprocessing.media.probe import is_variable
from shards.errors import RequestError
from shards.schema import FrameTimes

DurationPolicy = Literal["keep_picture", "cut", "pad_silence", "freeze", "fail"]
"""What gives way. keep_picture: the speech's end. cut: the end of a picture that goes on after the speech.
pad_silence: nothing; shorter speech is filled up. freeze: nothing; the last frame is held under longer speech.
fail: the request, when they differ by more than a tenth of a second."""

SPEECH_OVERHANG_S = Fraction(1, 20)
"""Sound is cut in packets of up to 46 ms: speech as long as the picture may end so much later and is no longer."""
_FAIL_S = Fraction(1, 10)


def picture_length_s(times: FrameTimes) -> Fraction:
    """From the first frame's start to the last one's end; the last lasts as long as the middle one of all."""
    steps = np.diff(times.pts)
    last = int(np.median(steps)) if len(steps) else 1
    return (int(times.pts[-1] - times.pts[0]) + last) * times.base


def output_times(times: FrameTimes, speech_end_s: Fraction, policy: DurationPolicy) -> FrameTimes:
    """When the finished title's frames are shown, on the source's clock.

    `speech_end_s` counts from the first frame (`delivery.speech_end_s`). Frame i of the result shows frame
    min(i, N - 1) of the source's N.
    """
    if speech_end_s <= 0:
        raise RequestError(
            "the speech is over before the first frame; give a later audio_offset_ms",
            field="audio_offset_ms",
            value=f"speech ends at {float(speech_end_s):.3f} s",
        )
    over_s = speech_end_s - picture_length_s(times)
    if policy == "fail" and abs(over_s) > _FAIL_S:
        raise RequestError(
            f"the speech ends {abs(float(over_s)):.3f} s {'after' if over_s > 0 else 'before'} the picture, and this "
            "row asks to fail then; deliver speech of the picture's length or choose another policy",
            field="duration_policy",
            value=policy,
            choices=["keep_picture", "cut", "pad_silence", "freeze"],
        )
    if policy == "cut" and over_s < 0:
        return times.slice(0, _frames_begun(times, speech_end_s))
    if policy == "freeze" and over_s > SPEECH_OVERHANG_S:
        return _held(times, over_s)
    return times


def _frames_begun(times: FrameTimes, end_s: Fraction) -> int:
    """How many frames have begun before this moment after the first one."""
    end_ticks = math.ceil(end_s / times.base)
    return int(np.searchsorted(times.pts - times.pts[0], end_ticks))


def _held(times: FrameTimes, over_s: Fraction) -> FrameTimes:
    """With as many more frames, at the picture's own cadence, as fill the time that is missing."""
    step = _cadence_ticks(times)
    num_more = math.ceil(over_s / (step * times.base))
    # Rounded one by one from the exact step: 23.976 frames a second do not drift on a clock of milliseconds.
    more = [int(times.pts[-1]) + math.floor(step * k + Fraction(1, 2)) for k in range(1, num_more + 1)]
    return FrameTimes(pts=np.concatenate([times.pts, np.array(more, dtype=np.int64)]), base=times.base)


def _cadence_ticks(times: FrameTimes) -> Fraction:
    """Ticks from frame to frame: the average of an even rate, the middle one of an uneven rate."""
    if len(times) < 2:
        # A single frame tells no rate; a held still changes 25 times a second.
        return max(Fraction(1), Fraction(1, 25) / times.base)
    if is_variable(times):
        return Fraction(int(np.median(np.diff(times.pts))))
    return Fraction(int(times.pts[-1] - times.pts[0]), len(times) - 1)
