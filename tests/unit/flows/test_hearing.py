"""Slices of sound: on the title's clock, alike for neighbours, named by what is heard and nothing else."""

from __future__ import annotations

import dataclasses
import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flows import hearing
from flows.hearing import CONTEXT_S, GRID_S, RATE_HZ, Slice, Sound, Speeches
from flows.workers.fragments import SourceChanged
from preprocessing.media.speech import read_speech
from shards.fingerprint import file_sha256
from shards.schema import Speech
from shards.store import open_store
from tests.support.cast import sound

SECONDS = 8.0
LINES = [(0.5, 1.5, 1), (5.0, 6.0, 2)]


@pytest.fixture
def speech(tmp_path: Path) -> Sound:
    return track(sound(tmp_path / "speech.wav", SECONDS, LINES))


def track(path: Path, **more: object) -> Sound:
    return Sound(audio=str(path), sha256=file_sha256(path), stream=None, **more)  # type: ignore[arg-type]


def around(sounds: list[Sound], first_s: float, last_s: float) -> Slice:
    return Slice.around(sounds, Fraction(str(first_s)), Fraction(str(last_s)))


def name(wanted: Slice) -> str:
    (found,) = Speeches().names([wanted])
    return found


def audible(wanted: Slice) -> list[float]:
    """First and last moment at which anything is heard."""
    heard = Speeches().heard(wanted)
    at = np.flatnonzero(heard.samples) / RATE_HZ + float(heard.origin_s)
    return [at[0], at[-1]] if len(at) else []


def test_a_slice_has_context_and_lies_on_the_titles_grid(speech: Sound) -> None:
    wanted = around([speech], 3.01, 4.03)
    assert wanted.start_s <= Fraction("3.01") - CONTEXT_S < wanted.start_s + GRID_S
    assert wanted.end_s - GRID_S < Fraction("4.03") + CONTEXT_S <= wanted.end_s
    assert wanted.start_s % GRID_S == wanted.end_s % GRID_S == 0
    heard = Speeches().heard(wanted)
    assert heard.origin_s == wanted.start_s
    assert Fraction(len(heard.samples), RATE_HZ) == wanted.end_s - wanted.start_s


def test_what_is_heard_is_the_files_own_sound_at_its_time(speech: Sound) -> None:
    assert audible(around([speech], 2.0, 5.0)) == pytest.approx([0.5, 6.0], abs=2e-3)
    assert audible(around([dataclasses.replace(speech, offset_ms=-300)], 2.0, 5.0)) == pytest.approx(
        [0.2, 5.7], abs=2e-3
    )


def test_two_neighbours_hear_the_same_where_they_overlap(speech: Sound) -> None:
    one, other = around([speech], 0.0, 3.96), around([speech], 4.0, 7.96)
    first, second = Speeches().heard(one), Speeches().heard(other)
    shared = int((one.end_s - other.start_s) * RATE_HZ)
    np.testing.assert_array_equal(first.samples[-shared:], second.samples[:shared])


def test_a_turn_is_heard_from_its_beginning_to_its_end_and_silence_around_it(speech: Sound) -> None:
    turn = dataclasses.replace(speech, start_s=Fraction(5), end_s=Fraction(11, 2))
    assert audible(around([turn], 4.0, 5.0)) == pytest.approx([5.0, 5.5], abs=2e-3)
    silence = dataclasses.replace(speech, start_s=Fraction(2), end_s=Fraction(3))
    assert audible(around([silence], 4.0, 5.0)) == []
    assert audible(around([], 4.0, 5.0)) == []


def test_a_slice_knows_only_the_turns_that_reach_into_it(speech: Sound) -> None:
    near, far = (dataclasses.replace(speech, start_s=Fraction(a), end_s=Fraction(a + 1)) for a in (0, 5))
    assert around([near, far], 0.0, 2.0).sounds == (near,)
    assert around([near, far], 4.0, 7.0).sounds == (far,)


def test_turns_of_one_face_are_heard_together(speech: Sound) -> None:
    turns = [dataclasses.replace(speech, start_s=Fraction(a), end_s=Fraction(a + 1)) for a in (0, 5)]
    assert audible(around(turns, 2.0, 5.0)) == pytest.approx([0.5, 6.0], abs=2e-3)


def test_a_changed_line_renames_only_what_hears_it(speech: Sound, tmp_path: Path) -> None:
    changed = track(sound(tmp_path / "changed.wav", SECONDS, [LINES[0], (5.0, 6.0, 3)]))
    assert changed.sha256 != speech.sha256
    early, late = ([around([s], *at) for s in (speech, changed)] for at in ((0.0, 2.0), (4.0, 6.0)))
    assert name(early[0]) == name(early[1])
    assert name(late[0]) != name(late[1])


def test_the_offset_moves_what_is_heard(speech: Sound) -> None:
    assert name(around([speech], 0.0, 2.0)) != name(around([dataclasses.replace(speech, offset_ms=40)], 0.0, 2.0))


def test_the_same_sound_under_another_name_has_the_same_name(speech: Sound, tmp_path: Path) -> None:
    copy = tmp_path / "sub" / "copy.wav"
    copy.parent.mkdir()
    copy.write_bytes(Path(speech.audio).read_bytes())
    assert name(around([track(copy)], 0.0, 2.0)) == name(around([speech], 0.0, 2.0))


def test_a_track_is_decoded_once_for_all_its_slices(speech: Sound, monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[Path] = []

    def counted(path: Path, **how: Any) -> Speech:
        reads.append(path)
        return read_speech(path, **how)

    monkeypatch.setattr(hearing, "read_speech", counted)
    speeches = Speeches()
    names = speeches.names([around([speech], t, t + 1) for t in range(6)])
    assert (len(set(names)), len(reads)) == (6, 1)


def test_no_more_sound_is_kept_than_there_is_room_for(speech: Sound, tmp_path: Path) -> None:
    speeches = Speeches(most_bytes=int(2.5 * SECONDS * RATE_HZ * 2))
    others = [track(sound(tmp_path / f"{n}.wav", SECONDS, [(0, 8, n)])) for n in range(3)]
    for each in [*others, others[0]]:
        speeches.heard(around([each], 0.0, 1.0))
    assert [key[0] for key in speeches._tracks] == [others[2].sha256, others[0].sha256]


def test_names_are_remembered_between_runs_without_decoding(
    speech: Sound, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(tmp_path / "store")
    wanted = [around([speech], t, t + 1) for t in range(3)]
    before = Speeches(store).names(wanted)

    def refused(*_: object, **__: object) -> None:
        raise AssertionError("decoded again")

    monkeypatch.setattr(hearing, "read_speech", refused)
    assert Speeches(open_store(tmp_path / "store", create=False)).names(wanted) == before


def test_a_file_that_is_not_the_planned_one_is_not_heard_under_its_name(speech: Sound) -> None:
    with pytest.raises(SourceChanged):
        Speeches().heard(around([dataclasses.replace(speech, sha256="0" * 64)], 0.0, 1.0))


def test_a_sound_travels_in_a_payload(speech: Sound) -> None:
    for given in (speech, dataclasses.replace(speech, stream=1, start_s=Fraction(1, 3), end_s=Fraction(2))):
        assert Sound.of_payload(json.loads(json.dumps(given.as_payload()))) == given
