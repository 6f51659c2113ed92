"""What a title has beside its pictures and sounds is kept in every container, or named; its length follows the row."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from preprocessing.media.base import MediaInfo
from preprocessing.media.delivery import speech_end_s
from preprocessing.media.hdr import StaticHdr, container_hdr, described_hdr
from preprocessing.media.labels import full_languages
from preprocessing.media.length import DurationPolicy, output_times
from preprocessing.media.mux import MuxReport, Tracks, mux
from preprocessing.media.probe import picture, probe_with_times, read_header
from preprocessing.media.runner import run_media
from preprocessing.media.tools import ffmpeg_command, file_url
from shards.schema import FrameTimes
from tests.support import lavfi

ENDINGS = ["mp4", "mov", "mkv"]
HDR = StaticHdr(mastering=(13250, 34500, 7500, 3000, 34000, 16000, 15635, 16450, 10_000_000, 50), light=(1000, 400))
DISPLAY = "G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50)"
X265 = f"log-level=error:master-display={DISPLAY}:max-cll=1000,400:hdr10=1:repeat-headers=1"
COLOURS = ("-color_range", "tv", "-color_primaries", "bt2020", "-color_trc", "smpte2084", "-colorspace", "bt2020nc")
# Squeezed pixels, ten bits, PQ.
GRAND = ("-vf", "setsar=4/3", "-c:v", "libx265", "-pix_fmt", "yuv420p10le", "-x265-params", X265, "-tag:v", "hvc1")
CHAPTERS = (
    ";FFMETADATA1\ntitle=The Film\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=500\ntitle=One = 1; #\\\\!\n"
    "[CHAPTER]\nTIMEBASE=1/1000\nSTART=500\nEND=1000\ntitle=Two\n"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kept")


@pytest.fixture(scope="module")
def speech(folder: Path) -> Path:
    return lavfi.sine(folder / "speech.m4a", seconds=0.98)


@pytest.fixture(scope="module")
def grand(folder: Path) -> dict[str, Path]:
    """One title with everything, in each container: HDR10 picture, two sounds, subtitles, chapters, timecode, cover."""
    film = lavfi.video(folder / "film.mp4", more=(*GRAND, *COLOURS))
    tone = lavfi.sine(folder / "tone.m4a")
    cover = lavfi.make(folder / "cover.jpg", "-f", "lavfi", "-i", "color=red:size=32x32", "-frames:v", "1")
    (folder / "a.srt").write_text("1\n00:00:00,100 --> 00:00:00,600\nHello\n\n2\n00:00:00,700 --> 00:00:00,900\nBye\n")
    (folder / "meta.txt").write_text(CHAPTERS)
    return {ending: _grand(folder, ending, film, tone, cover) for ending in ENDINGS}


def _grand(folder: Path, ending: str, film: Path, tone: Path, cover: Path) -> Path:
    inputs = [word for p in (film, tone, folder / "a.srt", folder / "meta.txt", cover) for word in ("-i", str(p))]
    maps = ["-map", "0:v", "-map", "1:a", "-map", "1:a", "-map", "2", "-map_metadata", "3", "-map_chapters", "3"]
    if ending == "mp4":
        maps += ["-map", "4", "-disposition:v:1", "attached_pic"]
    if ending == "mkv":
        maps += ["-attach", str(cover), "-metadata:s:t", "mimetype=image/jpeg"]
    tags = ["-metadata:s:v:0", "language=eng", "-metadata:s:a:0", "language=eng", "-metadata:s:a:1", "language=ita"]
    tags += ["-metadata:s:s:0", "language=spa", "-metadata:s:v:0", "timecode=01:02:03:04"]
    flags = ["-disposition:a:0", "default", "-disposition:a:1", "comment", "-disposition:s:0", "default+forced"]
    coding = ["-c", "copy", "-c:s", "srt" if ending == "mkv" else "mov_text"]
    return lavfi.make(folder / f"source.{ending}", *inputs, *maps, *coding, *tags, *flags)


def finish(source: Path, speech: Path, out: Path, *, times: FrameTimes | None = None, **options: Any) -> MuxReport:
    """With the source's own packets as the new picture, or with a picture made for `times`."""
    info, own = probe_with_times(source)
    assert own is not None
    if times is None:
        exact = ("-c", "copy", "-copyts", "-map_metadata", "-1", "-avoid_negative_ts", "disabled")
        scale = ("-video_track_timescale", str(own.base.denominator), "-movie_timescale", str(own.base.denominator))
        new = lavfi.make(out.with_name("new.mov"), "-i", file_url(source), "-map", "0:V:0", *exact, *scale)
    else:
        new = even_picture(out.with_name("new.mov"), info, times)
    return mux(new, source, speech, out, info, times=own if times is None else times, **options)


def even_picture(out: Path, info: MediaInfo, times: FrameTimes) -> Path:
    rate, scale = picture(info).frame_rate, str(times.base.denominator)
    more = (
        "-frames:v",
        str(len(times)),
        "-vf",
        "setsar=4/3",
        "-video_track_timescale",
        scale,
        "-movie_timescale",
        scale,
    )
    start = ("-output_ts_offset", f"{float(times.at(0).seconds):.6f}")
    return lavfi.video(out, seconds=len(times) / float(rate) + 1, fps=str(rate), more=(*more, *start))


def shown(path: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    header = read_header(path, deadline_s=20)
    return header, [s for s in header["streams"] if s["codec_type"] != "data"]


@pytest.fixture(scope="module", params=ENDINGS)
def finished(request: pytest.FixtureRequest, grand: dict[str, Path], speech: Path, folder: Path) -> MuxReport:
    return finish(grand[request.param], speech, folder / f"out.{request.param}", language="pt-BR")


class TestEverything:
    def test_is_there_and_nothing_is_noted(self, finished: MuxReport) -> None:
        texts = "subrip" if finished.path.suffix == ".mkv" else "mov_text"
        cover = () if finished.path.suffix == ".mov" else ("video mjpeg",)
        sounds = ("audio aac", "audio aac", "audio aac")
        assert finished.streams == ("video hevc", *sounds, f"subtitle {texts}", *cover)
        lost = [note for note in finished.notes if "mov keeps no flag" not in note]
        assert lost == []

    def test_hdr_is_in_the_container_and_in_the_pictures(self, finished: MuxReport) -> None:
        header, streams = shown(finished.path)
        assert container_hdr(streams[0]) == HDR
        frame = ("-show_frames", "-read_intervals", "%+#1")
        command = ["ffprobe", "-v", "error", "-of", "json", "-select_streams", "v:0", *frame, file_url(finished.path)]
        sides = json.loads(run_media(command, deadline_s=20).stdout)["frames"][0]["side_data_list"]
        assert {"Mastering display metadata", "Content light level metadata"} <= {s["side_data_type"] for s in sides}
        assert described_hdr(finished.path, 0) == HDR
        tags = ("color_range", "color_primaries", "color_transfer", "color_space")
        assert [streams[0][tag] for tag in tags] == ["tv", "bt2020", "smpte2084", "bt2020nc"]
        assert header["format"]["tags"]["title"] == "The Film"

    def test_colours_are_in_the_container_itself(self, finished: MuxReport) -> None:
        # 9, 16, 9: BT.2020, PQ, BT.2020 not constant; as `colr` says them, and Matroska's three elements.
        told = bytes.fromhex("55bb8109") if finished.path.suffix == ".mkv" else bytes.fromhex("000900100009")
        assert told in finished.path.read_bytes()

    def test_regions_of_languages_survive(self, finished: MuxReport) -> None:
        header, streams = shown(finished.path)
        assert full_languages(finished.path, header) == {1: "pt-BR"}
        assert [s["tags"].get("language") for s in streams[:5]] == ["eng", "por", "eng", "ita", "spa"]

    def test_pixels_keep_their_shape(self, finished: MuxReport) -> None:
        assert shown(finished.path)[1][0]["sample_aspect_ratio"] == "4:3"

    def test_chapters_are_where_they_were(self, finished: MuxReport) -> None:
        chapters = shown(finished.path)[0]["chapters"]
        assert [c["tags"]["title"] for c in chapters] == ["One = 1; #\\!", "Two"]
        assert [round(float(c["start_time"]), 2) for c in chapters] == [0, 0.5]

    def test_is_the_same_bytes_every_time(
        self, finished: MuxReport, grand: dict[str, Path], speech: Path, tmp_path: Path
    ) -> None:
        ending = finished.path.suffix[1:]
        again = finish(grand[ending], speech, tmp_path / finished.path.name, language="pt-BR")
        assert again.path.read_bytes() == finished.path.read_bytes()


def test_a_regional_language_of_the_sources_own_sound_survives_in_every_other_container(
    grand: dict[str, Path], speech: Path, tmp_path: Path
) -> None:
    first = finish(grand["mp4"], speech, tmp_path / "first.mkv", language="es-419")
    second = finish(first.path, speech, tmp_path / "second.mov", language="pt-BR")
    header, _ = shown(second.path)
    assert full_languages(second.path, header) == {1: "pt-BR", 2: "es-419"}


def test_a_name_is_kept_where_room_was_needed_behind_it(speech: Path, tmp_path: Path) -> None:
    """An HDR picture is labelled, so its own name was lengthened for a moment."""
    more = (*GRAND, *COLOURS, "-metadata:s:v:0", "title=Reel 1")
    source = lavfi.video(tmp_path / "s.mkv", more=more)
    streams = shown(finish(source, speech, tmp_path / "t.mkv", language="pt-BR").path)[1]
    assert [s["tags"]["title"] for s in streams] == ["Reel 1", "Dub (pt-BR)"]


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_drop_frame_timecode_is_kept(speech: Path, tmp_path: Path, ending: str) -> None:
    more = ("-metadata:s:v:0", "timecode=09:59:59;28", "-video_track_timescale", "30000")
    source = lavfi.video(tmp_path / "s.mov", fps="30000/1001", more=more)
    if ending == "mkv":  # whole milliseconds cannot hold 29.97: a rate they can hold, and the same way of counting
        source = lavfi.video(tmp_path / "s.mkv", fps="25", more=("-metadata:s:v:0", "timecode=09:59:59:24"))
    report = finish(source, speech, tmp_path / f"t.{ending}")
    tags = {k.lower(): v for k, v in shown(report.path)[1][0]["tags"].items()}
    assert tags["timecode"] == ("09:59:59:24" if ending == "mkv" else "09:59:59;28")


class TestTracks:
    @pytest.mark.parametrize("ending", ENDINGS)
    def test_subtitles_that_are_not_to_show_by_themselves_do_not(
        self, grand: dict[str, Path], speech: Path, tmp_path: Path, ending: str
    ) -> None:
        tracks = Tracks(subtitles="not_default", dub_default=False)
        report = finish(grand[ending], speech, tmp_path / f"t.{ending}", language="de", tracks=tracks)
        streams = shown(report.path)[1]
        flags = [{k for k, v in s["disposition"].items() if v} & {"default", "forced"} for s in streams[:5]]
        assert flags == [{"default"}, {"default"}, set(), set(), set()]
        assert [s["tags"]["language"] for s in streams[1:4]] == ["eng", "ita", "ger"]
        assert report.dub == 3

    def test_a_chosen_track_of_the_delivery_is_the_dub(self, speech: Path, tmp_path: Path) -> None:
        quiet = lavfi.sine(tmp_path / "quiet.m4a", channels=1)
        both = lavfi.make(
            tmp_path / "both.mp4", "-i", str(quiet), "-i", str(speech), "-map", "0", "-map", "1", "-c", "copy"
        )
        source = lavfi.video(tmp_path / "s.mp4")
        report = finish(source, both, tmp_path / "t.mp4", audio_stream=1)
        assert shown(report.path)[1][1]["channels"] == 2
        assert report.speech == "copied"

    def test_five_channels_and_one_are_copied_as_they_are(self, tmp_path: Path) -> None:
        tone = (
            "-f",
            "lavfi",
            "-i",
            "sine=frequency=60:duration=1",
            "-af",
            "pan=5.1|c0=c0|c1=c0|c2=c0|c3=c0|c4=c0|c5=c0",
        )
        speech = lavfi.make(tmp_path / "speech.m4a", *tone)
        report = finish(lavfi.video(tmp_path / "s.mp4"), speech, tmp_path / "t.mp4", language="en")
        assert report.speech == "copied"
        assert shown(report.path)[1][1]["channel_layout"] == "5.1"


def sound(path: Path, stream: str) -> bytes:
    arguments = ("-i", file_url(path), "-map", stream, "-c", "copy", "-f", "hash", "pipe:1")
    return run_media(ffmpeg_command(*arguments), deadline_s=20).stdout


class TestLength:
    @pytest.mark.parametrize("ending", ENDINGS)
    def test_speech_that_begins_late_is_copied_and_begins_then(
        self, grand: dict[str, Path], tmp_path: Path, ending: str
    ) -> None:
        speech = lavfi.sine(tmp_path / "speech.m4a", seconds=0.6)
        offset_s = Fraction(37, 1000)
        report = finish(grand[ending], speech, tmp_path / f"t.{ending}", audio_offset_s=offset_s)
        assert report.speech == "copied"
        assert sound(report.path, "0:a:0") == sound(speech, "0:a:0")
        assert abs(heard_from_s(report.path) - float(offset_s)) < 0.001

    def test_a_delay_is_not_rounded_to_a_clock_that_counts_whole_frames(self, tmp_path: Path) -> None:
        source = lavfi.video(tmp_path / "s.mp4", more=("-video_track_timescale", "25"))
        speech = lavfi.sine(tmp_path / "speech.m4a", seconds=0.6)
        report = finish(source, speech, tmp_path / "t.mp4", audio_offset_s=Fraction(57, 1000))
        assert abs(heard_from_s(report.path) - 0.057) < 0.001

    @pytest.mark.parametrize("ending", ENDINGS)
    def test_a_picture_that_is_cut_ends_the_other_streams_too(
        self, grand: dict[str, Path], tmp_path: Path, ending: str
    ) -> None:
        speech = lavfi.sine(tmp_path / "speech.m4a", seconds=0.6)
        times = planned(grand[ending], speech, "cut")
        assert len(times) == 15
        report = finish(grand[ending], speech, tmp_path / f"t.{ending}", times=times, duration_policy="cut")
        header, _ = shown(report.path)
        assert float(header["format"]["duration"]) < 0.68
        assert [c["tags"]["title"] for c in header["chapters"]] == ["One = 1; #\\!", "Two"]
        assert abs(float(header["chapters"][1]["end_time"]) - 0.6) < 0.03

    @pytest.mark.parametrize("ending", ENDINGS)
    def test_a_frozen_picture_lasts_until_the_speech_is_over(
        self, grand: dict[str, Path], tmp_path: Path, ending: str
    ) -> None:
        speech = lavfi.sine(tmp_path / "speech.m4a", seconds=1.5)
        times = planned(grand[ending], speech, "freeze")
        report = finish(grand[ending], speech, tmp_path / f"t.{ending}", times=times, duration_policy="freeze")
        assert len(times) == 38
        assert report.speech == "copied"
        assert sound(report.path, "0:a:0") == sound(speech, "0:a:0")

    def test_silence_up_to_the_pictures_end_is_said(self, grand: dict[str, Path], tmp_path: Path) -> None:
        speech = lavfi.sine(tmp_path / "speech.wav", seconds=0.5)
        report = finish(grand["mov"], speech, tmp_path / "t.mov", duration_policy="pad_silence")
        assert report.speech == "pcm_s16le 48000 Hz 2 channels"
        assert "0.500 s of silence" in report.notes[0]

    def test_an_early_beginning_is_cut_off_and_said(self, grand: dict[str, Path], tmp_path: Path) -> None:
        speech = lavfi.sine(tmp_path / "speech.m4a", seconds=1.1)
        report = finish(grand["mp4"], speech, tmp_path / "t.mp4", audio_offset_s=Fraction(-1, 5))
        assert report.speech == "aac 48000 Hz stereo"
        assert any("first 0.200 s" in note for note in report.notes)


def planned(source: Path, speech: Path, policy: DurationPolicy) -> FrameTimes:
    times = probe_with_times(source)[1]
    assert times is not None
    return output_times(times, speech_end_s(speech), policy)


def heard_from_s(path: Path) -> float:
    """When the first sound that is not silence is heard, counted from the first frame."""
    header = read_header(path, deadline_s=20)
    rate = 48_000
    filled = ("-af", "aresample=async=1:first_pts=0", "-ac", "1", "-f", "s16le", "-c:a", "pcm_s16le", "pipe:1")
    pcm = run_media(ffmpeg_command("-copyts", "-i", file_url(path), "-map", "0:a:0", *filled), deadline_s=20).stdout
    loud = np.flatnonzero(np.abs(np.frombuffer(pcm, dtype="<i2").astype(int)) > 400)
    first = next(s for s in header["streams"] if s["codec_type"] == "video")
    return float(loud[0]) / rate - float(first["start_time"])


def test_covers_travel_into_matroska_as_files(grand: dict[str, Path], speech: Path, tmp_path: Path) -> None:
    report = finish(grand["mp4"], speech, tmp_path / "t.mkv")
    cover = shown(report.path)[1][-1]
    assert cover["disposition"]["attached_pic"] == 1
    assert cover["tags"]["mimetype"] == "image/jpeg"
    assert sound(report.path, f"0:{cover['index']}") == sound(grand["mp4"], "0:v:1")


def test_fonts_stay_in_matroska(speech: Path, tmp_path: Path) -> None:
    font = tmp_path / "letters.ttf"
    font.write_bytes(bytes(range(256)))
    attached = ("-attach", str(font), "-metadata:s:t", "mimetype=application/x-truetype-font")
    source = lavfi.video(tmp_path / "s.mkv", more=attached)
    assert finish(source, speech, tmp_path / "t.mkv").streams[-1] == "attachment ttf"
    report = finish(source, speech, tmp_path / "t.mp4")
    assert "mp4 does not carry stream 1 (attachment ttf); left out" in report.notes
