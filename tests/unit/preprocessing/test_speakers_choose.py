"""Turns: clear evidence is followed, trembling evidence is not."""

from __future__ import annotations

import numpy as np
import pytest

from preprocessing.speakers.choose import ALONE, NOBODY, SHORTEST_S, frame_seconds, turns
from shards.schema import F64, I64
from tests.support.cast import ANN, BOB, listened, pictures

FRAME_S = 0.04


def found(*evidence: F64, voice: F64 | None = None, **border: float) -> I64:
    rows = np.stack(evidence)
    length = rows.shape[1]
    return turns(rows, np.ones(length) if voice is None else voice, np.full(length, FRAME_S), **border)


def steps(*parts: tuple[float, int]) -> F64:
    """(value, frames) after (value, frames)."""
    return np.concatenate([np.full(count, value) for value, count in parts])


def test_the_turn_changes_where_the_evidence_does() -> None:
    chosen = found(steps((0.9, 50), (0.1, 50)), steps((0.1, 50), (0.9, 50)))
    assert chosen.tolist() == [0] * 50 + [1] * 50


def test_evidence_below_the_border_is_nobodys() -> None:
    assert set(found(steps((0.45, 100)))) == {NOBODY}
    assert set(found(steps((0.45, 100)), border=ALONE)) == {0}


@pytest.mark.parametrize("frames", [1, 5, 10, 14])
def test_a_turn_shorter_than_the_shortest_is_no_turn(frames: int) -> None:
    assert frames * FRAME_S < SHORTEST_S
    chosen = found(steps((1, 50), (0, frames), (1, 50)), steps((0, 50), (1, frames), (0, 50)))
    assert set(chosen) == {0}


def test_a_turn_of_the_shortest_length_and_clear_evidence_is_one() -> None:
    gap = round(SHORTEST_S / FRAME_S) + 1
    chosen = found(steps((1, 50), (0, gap), (1, 50)), steps((0, 50), (1, gap), (0, 50)))
    assert (chosen[50 : 50 + gap] == 1).all()
    assert (found(steps((0, 50), (1, gap), (0, 50)))[50 : 50 + gap] == 0).all()


def test_evidence_that_trembles_around_the_border_does_not_make_the_turn_flutter() -> None:
    rng = np.random.default_rng(0)
    one = np.clip(0.7 + rng.normal(0, 0.3, 500), 0, 1)
    other = np.clip(0.6 + rng.normal(0, 0.3, 500), 0, 1)
    assert np.count_nonzero(np.diff(np.argmax([one, other], axis=0))) > 100
    assert np.count_nonzero(np.diff(found(one, other))) <= 2


def test_where_nobody_is_heard_at_all_nobody_has_the_turn() -> None:
    assert set(found(steps((0, 30)), steps((0, 30)), voice=np.zeros(30))) == {NOBODY}


def test_in_a_pause_the_turn_stays_where_it_was() -> None:
    voice = steps((1, 40), (0, 40), (1, 40))
    chosen = found(steps((1, 40), (0, 40), (1, 40)), voice=voice)
    assert set(chosen) == {0}


def test_a_turn_ends_with_the_pause_after_it() -> None:
    voice = steps((1, 40), (0, 20), (1, 40))
    chosen = found(steps((1, 45), (0.2, 55)), steps((0.2, 45), (1, 55)), voice=voice)
    assert chosen.tolist() == [0] * 60 + [1] * 40


def test_a_face_that_is_not_there_cannot_have_the_turn() -> None:
    chosen = found(steps((np.nan, 30), (1, 70)), steps((1, 30), (np.nan, 70)))
    assert chosen.tolist() == [1] * 30 + [0] * 70


def test_a_face_speaks_from_the_first_frame_of_a_shot_of_one_frame() -> None:
    assert found(steps((1, 1))).tolist() == [0]


def test_frames_count_by_how_long_they_are_shown() -> None:
    spoken = listened(pictures(((ANN, BOB), 20)), {0: [(0, 20)]})
    assert frame_seconds(spoken.times).tolist() == pytest.approx([FRAME_S] * 20)
    # Ten frames that are shown for four seconds outweigh forty that are shown for one and a half.
    evidence = np.stack([steps((1, 10), (0.2, 40)), steps((0.4, 10), (0.9, 40))])
    seconds = steps((0.4, 10), (FRAME_S, 40))
    assert turns(evidence, np.ones(50), seconds)[0] == 0
    assert turns(evidence, np.ones(50), np.full(50, 0.002))[0] == 1
