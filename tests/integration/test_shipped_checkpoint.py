"""The checkpoint that ships makes the sample's face say lines it was never trained on."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from flows.evaluation.measures import CLOSED
from flows.voice import read_voice, shipped_checkpoint
from model.metrics import openings
from preprocessing.media.speech import read_speech
from tests.support.sample_dub import EXAMPLES, SILENCE, SampleDub, gap


@pytest.fixture(scope="module")
def dub() -> SampleDub:
    return SampleDub(shipped_checkpoint())


@pytest.mark.parametrize("language", ["es", "en"])
def test_the_lips_follow_a_line_it_never_heard(dub: SampleDub, language: str) -> None:
    """A drawn face is not what it learned most from; a mouth that moves at random has 0."""
    assert dub.correlation(language) > 0.5


def test_silence_closes_the_mouth(dub: SampleDub) -> None:
    speaking = openings(dub.saying(read_speech(EXAMPLES / "hopper.es.m4a")))
    # Not held against how far it is open when it speaks on the whole: it is shut in that line's own pauses, too.
    assert np.quantile(openings(dub.saying(SILENCE)), 0.9) < CLOSED < 2 * CLOSED < np.quantile(speaking, 0.9)


def test_the_mouth_is_drawn_as_the_landmarks_say(dub: SampleDub) -> None:
    """Asked for a wide and for a shut mouth over the same picture, it draws each nearer to its own."""
    clip, opening = dub.clip, gap(dub.clip.landmarks)
    wide, shut = int(np.argmax(opening)), int(np.argmin(opening))
    asked = dataclasses.replace(
        clip.landmarks, points=clip.landmarks.points[[wide, shut]], confidence=np.ones(2, np.float32)
    )
    made = dub.pipe.render(clip.frames[[wide, wide]], asked, dub.references, seed=0)
    lips = clip.landmarks.points[wide][list(clip.landmarks.topology.lips)]
    (left, top), (right, bottom) = lips.min(axis=0).astype(int), lips.max(axis=0).astype(int)
    mouth = np.s_[top:bottom, left:right]
    dark = [float(frame[mouth].mean()) for frame in made]
    real = [float(clip.frames[i][mouth].mean()) for i in (wide, shut)]
    assert np.sign(dark[0] - dark[1]) == np.sign(real[0] - real[1])
    assert abs(dark[0] - dark[1]) > 0.4 * abs(real[0] - real[1])


def test_it_says_plainly_what_it_is() -> None:
    description = read_voice(None).description
    assert "generated" in description
    assert "evaluation" in description
