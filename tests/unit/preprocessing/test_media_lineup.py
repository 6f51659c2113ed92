"""Which streams a finished title has, in which order, and what is said of the others."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from preprocessing.media.base import AudioStream
from preprocessing.media.delivery import Delivery
from preprocessing.media.hdr import StaticHdr
from preprocessing.media.lineup import Lineup, Tracks, flags_of, is_made_anew, line_up
from preprocessing.media.tracks import CONTAINERS

SPEECH = Delivery(
    path=Path("speech.m4a"),
    track=AudioStream(
        index=3,
        codec="aac",
        rate_hz=48_000,
        channels=2,
        layout="stereo",
        language=None,
        start_s=Fraction(0),
        duration_s=Fraction(1),
        is_default=True,
    ),
    lead_s=Fraction(0),
    offset_s=Fraction(0),
    how="copied",
    notes=("said of the speech",),
)


def stream(index: int, kind: str, codec: str, *flags: str, **tags: str) -> dict[str, Any]:
    return {
        "index": index,
        "codec_type": kind,
        "codec_name": codec,
        "disposition": dict.fromkeys(flags, 1) | {"lyrics": 0},
        "tags": tags,
    }


COVER = stream(0, "video", "mjpeg", "attached_pic")
PICTURE = stream(1, "video", "h264", "default", language="eng", title="Reel")
ENGLISH = stream(2, "audio", "aac", "default", "original", language="eng")
COMMENTARY = stream(3, "audio", "ac3", "comment", language="eng", title="Director")
TEXT = stream(4, "subtitle", "mov_text", "default", "captions", language="spa")
TIMECODE = stream(5, "data", "none") | {"codec_tag_string": "tmcd"}
FONT = stream(6, "attachment", "ttf")


def lined_up(*streams: dict[str, Any], ending: str = ".mp4", language: str | None = "pt-BR", **wanted: Any) -> Lineup:
    return line_up(
        {"streams": list(streams)},
        {4: "es-419"},
        1,
        CONTAINERS[ending],
        SPEECH,
        made="hevc",
        language=language,
        wanted=Tracks(**wanted),
        hdr=StaticHdr(),
    )


def rows(lineup: Lineup) -> list[tuple[str, int, str]]:
    return [(track.origin, track.index, "+".join(sorted(track.flags))) for track in lineup.tracks]


def test_the_dub_comes_first_of_the_sounds_and_is_the_default() -> None:
    found = lined_up(PICTURE, ENGLISH, COMMENTARY)
    assert rows(found) == [
        ("picture", 0, "default"),
        ("speech", 3, "default+dub"),
        ("source", 2, ""),
        ("source", 3, "comment"),
    ]
    assert found.dub == 1
    assert found.summary() == ("video hevc", "audio aac", "audio aac", "audio ac3")


def test_the_sources_default_stays_where_that_is_asked_and_the_dub_comes_after_its_sounds() -> None:
    found = lined_up(PICTURE, ENGLISH, COMMENTARY, TEXT, dub_default=False)
    assert rows(found)[1:4] == [("source", 2, "default"), ("source", 3, "comment"), ("speech", 3, "dub")]
    assert found.dub == 3


@pytest.mark.parametrize("streams", [[PICTURE], [PICTURE, stream(2, "audio", "cook")]])
def test_a_dub_that_is_the_only_sound_is_the_default_anyway(streams: list[dict[str, Any]]) -> None:
    assert rows(lined_up(*streams, dub_default=False))[1] == ("speech", 3, "default+dub")


class TestSubtitles:
    def test_are_kept_with_their_flags_and_whole_language(self) -> None:
        found = lined_up(PICTURE, TEXT).tracks[-1]
        assert found.flags == {"default", "hearing_impaired"}
        assert found.language == "es-419"
        assert found.label().language == "es-419"

    def test_that_are_not_to_show_by_themselves_have_neither_flag(self) -> None:
        found = lined_up(PICTURE, TEXT, subtitles="not_default").tracks[-1]
        assert found.flags == {"hearing_impaired"}
        assert not found.label().is_enabled

    def test_that_are_dropped_are_named(self) -> None:
        found = lined_up(PICTURE, TEXT, subtitles="drop")
        assert found.summary() == ("video hevc", "audio aac")
        assert found.notes == ("said of the speech", "subtitle track 4 (mov_text) was left out, as asked")


class TestWhatDoesNotTravel:
    def test_other_sounds_are_left_out_when_asked_and_named(self) -> None:
        found = lined_up(PICTURE, ENGLISH, keep_audio=False)
        assert found.notes[-1] == "sound track 2 (aac) was left out, as asked"

    @pytest.mark.parametrize(
        ("ending", "left"), [(".mp4", "attachment ttf"), (".mov", "cover picture mjpeg"), (".mkv", "subtitle mov_text")]
    )
    def test_what_a_container_cannot_carry_is_named(self, ending: str, left: str) -> None:
        found = lined_up(COVER, PICTURE, TEXT, FONT, ending=ending)
        assert any(left in note for note in found.notes)

    def test_flags_a_container_does_not_keep_are_named(self) -> None:
        found = lined_up(PICTURE, ENGLISH, COMMENTARY, ending=".mov")
        assert "mov keeps no flag `comment`: stream 3 has lost it" in found.notes
        assert found.tracks[-1].flags == frozenset()

    def test_a_timecode_is_made_anew_and_no_loss(self) -> None:
        assert lined_up(PICTURE, TIMECODE).notes == SPEECH.notes
        assert is_made_anew(TIMECODE)
        assert not is_made_anew(TEXT | {"codec_tag_string": "text"})


def test_covers_and_attachments_come_last_whatever_place_they_had() -> None:
    text = stream(4, "subtitle", "subrip")
    found = lined_up(COVER, FONT, PICTURE, ENGLISH, text, ending=".mkv")
    assert [track.codec for track in found.tracks] == ["hevc", "aac", "aac", "subrip", "mjpeg", "ttf"]


def test_the_picture_keeps_its_language_and_name() -> None:
    found = lined_up(PICTURE).tracks[0]
    assert (found.language, found.name, found.codec) == ("eng", "Reel", "hevc")


def test_a_language_without_three_letters_is_written_in_full_and_said() -> None:
    found = lined_up(PICTURE, language="qu-x-test")
    assert found.tracks[1].code == "que"
    found = lined_up(PICTURE, language="x1-AB")
    assert found.tracks[1].code is None
    assert found.tracks[1].label().language == "x1-AB"
    assert "no three-letter code" in found.notes[-1]


def test_flags_that_mean_the_same_are_read_as_one() -> None:
    raw = stream(0, "subtitle", "mov_text", "captions", "hearing_impaired", "lyrics")
    assert flags_of(raw, CONTAINERS[".mp4"]) == {"hearing_impaired"}
