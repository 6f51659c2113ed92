"""Hostile footage through the real command, in one run: each case ends as its row says, and nothing else happens."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from preprocessing.config import QualityConfig
from preprocessing.quality.gates import judge
from shards.commit import Ledger, Receipt
from shards.index import read_info
from shards.store import open_store
from tests.support.hostile import (
    Maker,
    begun_late,
    behind_noise,
    copied,
    cut_to,
    damaged,
    delayed,
    drawn,
    ear,
    endless_table,
    filtered,
    heard,
    link,
    locked,
    locked_folder,
    longer,
    lying_avi,
    one_after_another,
    picture,
    pipe,
    recoded,
    scrambled,
    script,
    song,
    subtitles,
    turned_by,
    without_index,
    written,
)  # fmt: skip
from tests.support.hostile_run import Run, run_over

pytestmark = pytest.mark.timeout(600)

KEPT = "kept"
"""At least one clip passes the gates."""
ABSENT = "absent"
"""No source of its own: hidden, or the bytes of another."""
_ONE, _HALF = 0x10000, 46341
_HLS = "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:1.2,\n{url}/clip.ts\n#EXTINF:1.2,\n{secret}\n#EXT-X-ENDLIST\n"
_DASH = (
    '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" mediaPresentationDuration="PT2S">'
    '<Period><AdaptationSet mimeType="video/mp4"><Representation id="1" bandwidth="1"><BaseURL>{url}/v.mp4</BaseURL>'
    "</Representation></AdaptationSet></Period></MPD>"
)
_FFCONCAT = "ffconcat version 1.0\nfile '{secret}'\nfile '{url}/clip.mp4'\n"
_SDP = (
    "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n"
)
_CENC = ("-encryption_scheme", "cenc-aes-ctr", "-encryption_key", "01" * 16, "-encryption_kid", "00" * 16)
_HDR = ("-pix_fmt", "yuv420p10le", "-color_primaries", "bt2020", "-color_trc", "smpte2084", "-colorspace", "bt2020nc")
_FIELDS = ("-c:v", "mpeg2video", "-q:v", "2", "-flags", "+ildct+ilme")
_THREE = ("-map", "0:v", "-map", "0:a", "-map", "0:a", "-map", "0:a", "-c", "copy", "-disposition:a:1", "default")
_TWO = "split[a][b];[b]hflip[c];[a][c]hstack"
_ASIDE = "split[a][b];[a]crop=136:256:0:0,scale=10:256[l];[b]crop=120:256:136:0,scale=246:256[r];[l][r]hstack"

_CUT = "split[a][b];[b]hflip,eq=brightness=0.35:contrast=0.6[c];[a][c]overlay=enable='mod(floor(n/{}),2)'"

CASES: dict[str, tuple[str, Maker]] = {
    # -- no footage
    "zero.mp4": ("empty_file", written(b"")),
    "noise.mp4": ("not_media", written(random.Random(2).randbytes(20_000))),
    "text.mp4": ("not_media", written("There is no picture in here.\n" * 400)),
    "notes.txt": ("not_media", written("take 3 was best\n")),
    "page.html": ("not_media", script("<html><video src='{url}/v.mp4'></video></html>")),
    "list.csv": ("not_media", script("source\n{secret}\n")),
    "photo.jpg": ("not_media", picture()),
    "photo.mp4": ("not_media", picture("-f", "image2", "-c:v", "mjpeg", "-q:v", "9")),
    "photo.webp": ("not_media", picture()),
    "dance.gif": ("not_media", recoded("-c:v", "gif", "-pix_fmt", "rgb8", "-an")),
    "song.m4a": ("no_video", song(cover=False)),
    "cover.m4a": ("no_video", song(cover=True)),
    "lines.srt": ("not_media", written("1\n00:00:00,000 --> 00:00:01,000\nHello\n")),
    "lines.mkv": ("no_video", subtitles),
    # -- lists that name other files and addresses
    "hls.m3u8": ("not_media", script(_HLS)),
    "hls.mp4": ("not_media", script("#EXTM3U\n" + _HLS)),
    "dash.mpd": ("not_media", script(_DASH)),
    "concat.ffconcat": ("not_media", script(_FFCONCAT)),
    "concat.mp4": ("not_media", script("ffconcat version 1.0\n# x\nfile '{secret}'\n")),
    "call.sdp": ("not_media", written(_SDP)),
    # -- damage
    "cut moov.mp4": ("unreadable", damaged(cut_to(0.9), copied())),
    "cut data.mp4": ("truncated", damaged(cut_to(0.6), copied("-movflags", "+faststart"))),
    "cut.mkv": ("truncated", damaged(cut_to(0.6), copied())),
    "cut.avi": ("too_short", damaged(cut_to(0.6), copied())),
    "middle.mp4": (KEPT, damaged(scrambled(0.4, 0.5), copied())),
    "middle.ts": (KEPT, damaged(scrambled(0.4, 0.5), copied())),
    "head.mp4": ("not_media", damaged(scrambled(0.0, 0.05), copied("-movflags", "+faststart"))),
    "garbage ahead.ts": (KEPT, damaged(behind_noise, copied())),
    "garbage ahead.mp4": ("not_media", damaged(behind_noise, copied("-movflags", "+faststart"))),
    "bad index.avi": (KEPT, damaged(without_index, copied())),
    "lying count.avi": (KEPT, damaged(lying_avi, copied())),
    "lying table.mp4": ("unreadable", damaged(endless_table, copied())),
    "encrypted.mp4": ("unreadable", copied(*_CENC)),
    # -- wrappings
    "no duration.mkv": (KEPT, copied("-f", "matroska", "-live", "1")),
    "raw.h264": ("bad_timestamps", copied("-an", "-f", "h264")),
    "program.mpg": (KEPT, recoded("-c:v", "mpeg2video", "-q:v", "3", "-c:a", "mp2")),
    "old.flv": (KEPT, copied()),
    "vp8.webm": (KEPT, recoded("-c:v", "libvpx", "-cpu-used", "8", "-b:v", "1M", "-c:a", "libopus")),
    "fragmented.mp4": (KEPT, copied("-movflags", "frag_keyframe+empty_moov")),
    "wrong ending.avi": (KEPT, copied("-f", "mp4")),
    # -- time
    "variable rate.mp4": (KEPT, filtered("select='mod(n,4)'", "-fps_mode", "passthrough")),
    "1 fps.mp4": ("not_speaking", filtered("fps=1,tpad=stop_duration=1:stop_mode=clone")),
    "120 fps.mp4": (KEPT, filtered("fps=120")),
    "a tenth.mp4": ("too_short", recoded("-t", "0.1")),
    "one frame.mp4": ("too_short", recoded("-frames:v", "1")),
    "sound late.mp4": ("silent", delayed("a", 2.0)),
    "picture late.mp4": (KEPT, delayed("v", 0.3)),
    "starts below zero.mkv": ("bad_timestamps", copied("-output_ts_offset", "-0.4", "-avoid_negative_ts", "disabled")),
    "edit list.mp4": (KEPT, begun_late(0.1)),
    "clock wraps.ts": (KEPT, copied("-output_ts_offset", "95443.2")),
    "a day's gap.mkv": ("bad_timestamps", filtered("setpts='PTS+gt(N,20)*86400/TB'", "-fps_mode", "passthrough")),
    "sound's gap of a day.mkv": (KEPT, heard("asetpts='PTS+gt(N,28000)*86400/TB'")),
    # -- pictures
    "quarter turn.mp4": (KEPT, damaged(turned_by(0, _ONE, -_ONE, 0), filtered("transpose=cclock"))),
    "tilted.mp4": ("tilted", damaged(turned_by(_HALF, _HALF, -_HALF, _HALF), copied())),
    "mirrored.mp4": ("mirrored", damaged(turned_by(-_ONE, 0, 0, _ONE), copied())),
    "odd size.mkv": (KEPT, filtered("scale=255:253", "-pix_fmt", "yuv444p")),
    "wide pixels.mp4": (KEPT, filtered("scale=192:256,setsar=4/3")),
    "10 bit.mp4": (KEPT, recoded("-pix_fmt", "yuv420p10le")),
    "full range.mp4": (KEPT, filtered("scale=out_range=pc", "-pix_fmt", "yuvj420p", "-color_range", "pc")),
    "hdr.mp4": (
        KEPT,
        recoded(
            "-pix_fmt",
            "yuv420p10le",
            "-color_primaries",
            "bt2020",
            "-color_trc",
            "smpte2084",
            "-colorspace",
            "bt2020nc",
        ),
    ),
    "grey.mp4": (KEPT, recoded("-pix_fmt", "gray")),
    "rgb.mov": (KEPT, recoded("-c:v", "png", "-pix_fmt", "rgb24")),
    "interlaced.ts": (KEPT, filtered("scale=256:256:interl=1,setfield=tff", *_FIELDS)),
    "size changes.ts": (KEPT, one_after_another(recoded(), filtered("scale=320:320", "-output_ts_offset", "1.3"))),
    "huge.mp4": ("no_face", drawn("color=gray:size=7680x4320:rate=1")),
    "dot.mkv": ("no_face", drawn("testsrc2=size=2x2:rate=25")),
    # -- faces
    "no face.mp4": ("no_face", drawn("testsrc2=size=256x256:rate=25")),
    "black.mp4": ("no_face", filtered("drawbox=color=black:t=fill")),
    "dark.mp4": (KEPT, filtered("eq=brightness=-0.4:contrast=0.3")),
    "far away.mp4": ("face_too_small", filtered("scale=48:48,pad=256:256:100:100")),
    "mouth covered.mp4": ("mouth_covered", filtered("drawbox=x=60:y=130:w=136:h=90:color=0xa08070:t=fill")),
    "half out.mp4": ("mouth_cut_off", filtered("crop=256:150:0:0")),
    "turned aside.mp4": ("mouth_hidden", filtered(_ASIDE)),
    "upside down.mp4": (KEPT, filtered("hflip,vflip")),
    "two people.mp4": (KEPT, filtered(_TWO)),
    "cut each second.mp4": (KEPT, longer(_CUT.format(25))),
    "cut each half.mp4": ("too_short", longer(_CUT.format(12))),
    "blurred.mp4": ("blurred", filtered("gblur=sigma=6")),
    "still.mp4": ("not_speaking", filtered("trim=end_frame=1,loop=29:1,setpts=N/25/TB")),
    # -- sound
    "no sound.mp4": ("no_audio", recoded("-an")),
    "no samples.mov": ("no_audio", heard("atrim=end=0", "-c:a", "pcm_s16le")),
    "silence.mp4": ("silent", heard("volume=0")),
    "hum.mp4": ("silent", recoded("-filter_complex", "sine=120:d=1.2[a]", "-map", "0:v", "-map", "[a]")),
    "whisper.mp4": ("too_quiet", heard("volume=-33dB", "-c:a", "pcm_s24le", "-f", "mov")),
    "clipping.mp4": (KEPT, heard("volume=40dB")),
    "8 khz.mkv": (KEPT, heard("aresample=8000", "-c:a", "pcm_s16le", "-ar", "8000", "-ac", "1")),
    "96 khz 7.1.mkv": (KEPT, heard("aresample=96000,pan=7.1|FC=c0", "-c:a", "pcm_s24le", "-ar", "96000")),
    "three tracks.mkv": (KEPT, recoded(*_THREE)),
    # -- names
    "dotted.name.v1.2.final.mp4": (KEPT, copied()),
    "two\nlines ünï 東京 🎬.mp4": (KEPT, copied()),
    'it\'s "quoted".mp4': (KEPT, copied()),
    "-rf 100%03d %s.mp4": (KEPT, copied()),
    "http:what?x=1&y=[glob]*.mp4": (KEPT, copied()),
    "n" * 251 + ".mp4": (KEPT, copied("-f", "mp4")),
    "day 1/take.mp4": (KEPT, copied()),
    "folder.mp4/take.mp4": (KEPT, copied()),
    "bad\udcff.mp4": ("unreadable_name", written("its name is no UTF-8")),
    "day 2/copy of take 1.mp4": (ABSENT, lambda out, kit: shutil.copyfile(out.parents[1] / "day 1" / "take.mp4", out)),
    ".hidden.mp4": (ABSENT, copied("-f", "mp4")),
    ".trash/old.mp4": (ABSENT, copied("-f", "mp4")),
    # -- the file system
    "link out.mp4": ("link_outside", link(lambda kit: kit.secret)),
    "link out folder": ("link_outside", link(lambda kit: kit.outside)),
    "link dead.mp4": ("dead_link", link(lambda kit: Path("nowhere"))),
    "link ring.mp4": ("dead_link", link(lambda kit: Path("link ring.mp4"))),
    "growing.mp4": ("being_written", copied()),
    "pipe.mp4": ("not_a_file", pipe),
    "socket.mp4": ("not_a_file", ear),
    "locked.mp4": ("no_permission", locked),
    "locked folder": ("no_permission", locked_folder),
}


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """All cases in one folder, and the command over it."""
    return run_over(
        tmp_path_factory.mktemp("hostile"), {name: make for name, (_, make) in CASES.items()}, "growing.mp4"
    )


@pytest.fixture(scope="module")
def ends(ran: Run) -> dict[str, str]:
    """Name -> how it ended: `KEPT`, or the codes."""
    store = open_store(ran.answer["store"], create=False)
    ledger = Ledger(store)
    plan = ledger.read_plan(read_info(store, ran.answer["dataset"]).plan_id)
    names = {unit.unit_id: ran.name_of(unit.payload["path"]) for unit in plan.units}
    return {names[d.unit_id]: _end(d.result) for d in ledger.decisions(plan.units) if isinstance(d.result, Receipt)}


def _end(receipt: Receipt) -> str:
    codes = _codes(receipt)
    return KEPT if None in codes else " and ".join(sorted({code for code in codes if code is not None}))


def _codes(receipt: Receipt) -> list[str | None]:
    """Of each clip, None where it passes the gates, and of what could not be a clip."""
    verdicts = [judge(entry.scores, QualityConfig()) for entry in receipt.samples]
    return [v.code if v else None for v in verdicts] + [rejection.code for rejection in receipt.rejections]


@pytest.mark.parametrize("name", [pytest.param(name, id=ascii(name)[1:41]) for name in CASES])
def test_each_case_ends_as_it_must(name: str, ends: dict[str, str]) -> None:
    assert ends.get(name, ABSENT) == CASES[name][0]


def test_the_account_balances_and_nothing_is_given_up(ran: Run, ends: dict[str, str]) -> None:
    told, sources = ran.answer, [name for name, (end, _) in CASES.items() if end != ABSENT]
    assert told["quarantined"] == 0, told["given_up"]
    assert told["planned"] == told["kept"] + told["rejected"] == len(sources) == len(ends)


def test_the_users_files_are_as_they_were(ran: Run) -> None:
    assert ran.after == ran.before


def test_nothing_out_of_the_folder_is_opened_and_no_address_asked(ran: Run) -> None:
    assert ran.opened_outside == b""
    assert ran.asked == []
